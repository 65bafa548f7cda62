"""Finds what is to be compared among files, folders, patterns, manifests and transcripts, and pairs it by name.

The name of a recording is the path of its file below the folder that was given, or below the fixed part of a pattern,
without ending. A speaker is told by a part of that path such as `s1` or `spk2`: a folder (`s1/NAME.wav`), the file's
own name (`NAME/s1.wav`), or the end of it (`NAME_spk1.wav`). What is left is the recording. Files named one by one are
the signals of one recording.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path, PurePosixPath
from typing import get_args

from sepasr_cli import audio, transcripts
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import inside
from sepasr_cli.inference.inputs import TRANSCRIPTS
from sepasr_cli.manifest import DATASET, Mixture, Reference, Separated, read_manifest
from sepasr_cli.scoring.recordings import SignalFiles, SpokenTexts
from sepasr_cli.transcripts import Segment

#: How a part of a path names a speaker, with what `simulate` adds for the kind of reference; and a mixture.
SPEAKER = re.compile(
    r"(?:(?P<rest>.+)[_-])?(?P<name>(?:s|spk|speaker|src|source)-?\d{1,2})(?:_(?:direct|early|image))?", re.IGNORECASE
)
MIXTURE = re.compile(r"(?:(?P<rest>.+)[_-])?(?P<name>mix|mixture)", re.IGNORECASE)
#: More speakers in one recording are a mistake, such as a wrong column taken for them.
MOST_SPEAKERS = 20
#: Names shown of many.
SHOWN = 3


@dataclass(frozen=True)
class Material:
    """What is to be scored; remarks, a line each; why "signals" or "words" are missing, and why single recordings."""

    signals: tuple[SignalFiles, ...] = ()
    words: tuple[SpokenTexts, ...] = ()
    remarks: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Side:
    """What was named on one side: for each recording its speakers' files and its mixture, and who said what."""

    audio: dict[str, dict[str, Path]] = field(default_factory=dict)
    mixtures: dict[str, tuple[Path, int]] = field(default_factory=dict)
    segments: list[Segment] | None = None

    def add_signal(self, file: Path, recording: str, speaker: str) -> None:
        speakers = self.audio.setdefault(recording, {})
        if speaker in speakers:
            raise SepasrError(
                f"{file} and {speakers[speaker]} are both '{speaker}' of recording '{recording}'; name them s1, s2 ..."
            )
        speakers[speaker] = file

    def add_segments(self, segments: Iterable[Segment]) -> None:
        self.segments = [*(self.segments or []), *segments]


def find_material(
    reference: Sequence[str | Path],
    estimate: Sequence[str | Path],
    mixture: Sequence[str | Path] = (),
    kind: Reference = "early",
) -> Material:
    """Pair references with what is to be scored.

    Args:
        reference: audio files, folders, patterns, manifests of mixtures, transcripts.
        estimate: the same; manifests are those that `separate` writes.
        mixture: audio of the unprocessed mixtures, for improvements.
        kind: which reference signals of a manifest count, where it has them.

    Raises:
        SepasrError: where something is not there, cannot be read, or nothing fits together.
    """
    wanted, given = _gather(reference, kind), _gather(estimate, kind)
    mixtures = wanted.mixtures | _gather_mixtures(mixture)
    missing = _missing(wanted, given)
    if len(missing) == 2:
        raise SepasrError(f"nothing to score: {missing['signals']}; {missing['words']}")
    remarks: list[str] = []
    signals: tuple[SignalFiles, ...] = ()
    words: tuple[SpokenTexts, ...] = ()
    if "signals" not in missing:
        pairs = _paired(list(wanted.audio), list(given.audio), remarks)
        if len(pairs) == len(mixtures) == 1:
            mixtures = {pairs[0][0]: next(iter(mixtures.values()))}
        signals = tuple(_signal_files(a, wanted.audio[a], given.audio[b], mixtures.get(a)) for a, b in pairs)
        alone = [item.id for item in signals if item.mixture is None]
        if mixtures and alone:
            remarks.append(f"{len(alone)} of {len(signals)} recordings have no mixture: {_some(alone)}")
    if "words" not in missing:
        words = pair_transcripts(wanted.segments or [], given.segments or [], remarks)
    return Material(signals, words, tuple(remarks), missing)


def pair_transcripts(
    reference: Sequence[Segment], hypothesis: Sequence[Segment], remarks: list[str]
) -> tuple[SpokenTexts, ...]:
    """The recordings that both transcripts hold; what is in one alone is added to the remarks.

    Raises:
        SepasrError: where no recording is in both, or columns seem to be swapped.
    """
    said, heard = by_session(reference), by_session(hypothesis)
    if not said.keys() & heard.keys():
        swapped = said.keys() & {segment.speaker for segment in hypothesis}
        if swapped:
            raise SepasrError(
                f"{len(swapped)} of {len(said)} recordings of the reference stand as speakers in the hypothesis "
                f"({_some(sorted(swapped))}); are its columns swapped?"
            )
    pairs = _paired(list(said), list(heard), remarks)
    return tuple(SpokenTexts(a, tuple(said[a]), tuple(heard[b])) for a, b in pairs)


def by_session(segments: Iterable[Segment]) -> dict[str, list[Segment]]:
    """The segments of each recording."""
    found: dict[str, list[Segment]] = {}
    for segment in segments:
        found.setdefault(segment.session_id, []).append(segment)
    return found


def spoken(mixture: Mixture) -> list[Segment]:
    """What a manifest says was said; a source without text has no segment."""
    return [
        Segment(
            session_id=mixture.id,
            speaker=source.speaker,
            start_time=source.start,
            end_time=source.end,
            words=source.text,
        )
        for source in mixture.sources
        if source.text is not None
    ]


def _missing(wanted: _Side, given: _Side) -> dict[str, str]:
    """Which kinds cannot be scored, and why."""
    kinds = {
        "signals": ("audio", bool(wanted.audio), bool(given.audio)),
        "words": ("transcripts", wanted.segments is not None, given.segments is not None),
    }
    missing = {}
    for name, (kind, in_reference, in_estimate) in kinds.items():
        absent = [side for side, there in (("reference", in_reference), ("estimate", in_estimate)) if not there]
        if absent:
            missing[name] = f"no {kind} in --{' and --'.join(absent)}"
    if "words" not in missing and not any(segment.words.split() for segment in wanted.segments or ()):
        missing["words"] = "the reference transcript holds no words"
    return missing


def _gather(named: Sequence[str | Path], kind: Reference) -> _Side:
    side = _Side()
    outright: list[Path] = []
    for number, item in enumerate(map(str, named), 1):
        for file, below in _files(item):
            if file.suffix.lower() not in audio.SUFFIXES:
                if file.suffix == ".jsonl":
                    _add_manifest(side, file, kind)
                else:
                    side.add_segments(transcripts.read(file))
            elif below is None:
                outright.append(file)
            else:
                recording, speaker = _parse(below, SPEAKER)
                # Of folders without names for speakers each holds one speaker.
                side.add_signal(file, recording, speaker or f"spk{number}")
    parsed = [_parse(Path(file.name), SPEAKER) for file in outright]
    told = all(speaker is not None for _, speaker in parsed)
    for file, (recording, speaker) in zip(outright, parsed, strict=True):
        side.add_signal(file, recording if told else "", speaker if told and speaker else file.stem)
    return side


def _gather_mixtures(named: Sequence[str | Path]) -> dict[str, tuple[Path, int]]:
    found: dict[str, tuple[Path, int]] = {}
    for item in map(str, named):
        for file, below in _files(item):
            if file.suffix == ".jsonl":
                side = _Side()
                _add_manifest(side, file, "early")
                found |= side.mixtures
            else:
                found[_parse(below or Path(file.name), MIXTURE)[0]] = (file, 0)
    return found


def _files(item: str) -> list[tuple[Path, Path | None]]:
    """The files that are meant, each with its path below the folder or pattern; None where it is named outright."""
    path = Path(item)
    if path.is_file():
        return [(path, None)]
    if (path / TRANSCRIPTS).is_file():
        return [(path / TRANSCRIPTS, None)]
    if path.is_dir():
        files = audio.find(path) or [file for file in sorted(path.rglob("*")) if _is_transcript(file)]
        if not files:
            raise SepasrError(f"{path}: holds neither audio nor transcripts; check the path")
        return [(file, file.relative_to(path)) for file in files]
    if not any(sign in item for sign in "*?["):
        raise SepasrError(f"{item}: no such file or folder; check the path")
    files = [Path(name) for name in sorted(glob(item, recursive=True)) if Path(name).is_file()]
    if not files:
        raise SepasrError(f"{item}: no file fits the pattern; check it, and quote it")
    fixed = Path(re.split(r"[*?\[]", item)[0] + "x").parent
    return [(file, file.relative_to(fixed)) for file in files]


def _is_transcript(file: Path) -> bool:
    return file.is_file() and file.suffix.lower().removeprefix(".") in transcripts.FORMATS


def _parse(name: Path, pattern: re.Pattern[str]) -> tuple[str, str | None]:
    """The recording's name, and the speaker's where it is told.

    >>> [_parse(Path(name), SPEAKER) for name in ("s1/a.wav", "a/s2_early.flac", "b/a_spk1.wav", "a.wav")]
    [('a', 's1'), ('a', 's2'), ('b/a', 'spk1'), ('a', None)]
    """
    parts = PurePosixPath(name.as_posix()).with_suffix("").parts
    for index in reversed(range(len(parts))):
        if match := pattern.fullmatch(parts[index]):
            rest = [match["rest"]] if match["rest"] else []
            return "/".join([*parts[:index], *rest, *parts[index + 1 :]]), match["name"].lower()
    return "/".join(parts), None


def _add_manifest(side: _Side, path: Path, kind: Reference) -> None:
    with path.open(encoding="utf-8") as lines:
        first = lines.readline()
    if '"sources"' not in first:
        for separated in read_manifest(path, Separated):
            for number, name in enumerate(separated.audio, 1):
                side.add_signal(inside(path.parent, name), separated.id, f"spk{number}")
        return
    for mixture in read_manifest(path, Mixture):
        side.mixtures[mixture.id] = (inside(path.parent, mixture.audio, link=DATASET), mixture.reference_microphone)
        for choice in dict.fromkeys((kind, *get_args(Reference))):
            names = [getattr(source, choice) for source in mixture.sources]
            if None not in names:
                for source, name in zip(mixture.sources, names, strict=True):
                    side.add_signal(inside(path.parent, name, link=DATASET), mixture.id, source.speaker)
                break
        if all(source.text is not None for source in mixture.sources):
            side.add_segments(spoken(mixture))


def _paired(wanted: Sequence[str], given: Sequence[str], remarks: list[str]) -> list[tuple[str, str]]:
    """The names that both sides have; one recording on each side needs no name."""
    if len(wanted) == len(given) == 1:
        if wanted[0] != given[0]:
            remarks.append(f"'{given[0]}' is compared with the only reference, '{wanted[0]}'")
        return [(wanted[0], given[0])]
    both = [name for name in wanted if name in set(given)]
    if not both:
        raise SepasrError(
            f"no recording is in both: the reference has {len(wanted)} ({_some(wanted)}), the estimate {len(given)} "
            f"({_some(given)}); name what belongs together alike"
        )
    for side, names in (("reference", wanted), ("estimate", given)):
        if alone := sorted(set(names) - set(both)):
            remarks.append(f"{len(alone)} of {len(names)} recordings are in the {side} alone: {_some(alone)}")
    return [(name, name) for name in both]


def _signal_files(
    name: str, references: Mapping[str, Path], estimates: Mapping[str, Path], mixture: tuple[Path, int] | None
) -> SignalFiles:
    for side, files in (("references", references), ("estimates", estimates)):
        if len(files) > MOST_SPEAKERS:
            raise SepasrError(
                f"recording '{name}' has {len(files)} {side} ({_some([str(file) for file in files.values()])}), "
                f"expected at most {MOST_SPEAKERS}; is every file of one recording?"
            )
    path, microphone = mixture or (None, 0)
    chosen = tuple(estimates.values())
    names = tuple(str(file) for file in chosen)
    return SignalFiles(
        name or "recording", tuple(references), tuple(references.values()), chosen, names, path, microphone
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
