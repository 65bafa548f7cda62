"""What all readers of published sets of mixtures share: their settings, and the checks before a mixture is taken.

A set stays where it lies. The manifests of a run name its files below `dataset/`, a link in the run's data folder that
leads to the set's folder.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field

from sepasr_cli.audio import AudioInfo, info
from sepasr_cli.corpora.text import TextRule, normalise
from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import DATASET, Mixture, Reference, Source, Split
from sepasr_cli.progress import progress, warn
from sepasr_cli.settings import Settings

Item = TypeVar("Item")

ALL_REFERENCES: tuple[Reference, ...] = ("direct", "early", "image")

#: The names that wsj0-2mix, and what is made from it, have for the splits.
WSJ_SPLITS: dict[Split, str] = {"train": "tr", "dev": "cv", "test": "tt"}

#: Endings of the files of a set, as published or packed.
ENDINGS = (".wav", ".flac")


class Dataset(Settings):
    """Which part of a published set is taken."""

    path: Path
    mixtures: dict[Split, Annotated[int, Field(ge=0)]] = Field(
        default_factory=dict, description="at most so many of a split, spread evenly; 0: none; a split left out: all"
    )

    def places(self) -> tuple[str, ...]:
        """The settings that say where something lies, not what it is."""
        return tuple(name for name in ("path", "transcripts", "make_from") if name in type(self).model_fields)

    @property
    def speakers(self) -> int:
        """In every mixture."""
        return 2

    @property
    def microphones(self) -> int:
        """Channels of every mixture."""
        return 1

    @property
    def reference_microphone(self) -> int:
        """The channel at which references are taken."""
        return 0

    @property
    def references(self) -> tuple[Reference, ...]:
        """Which references there are."""
        return ALL_REFERENCES


@dataclass(frozen=True)
class FoundSource:
    """One speaker of a mixture as a set tells it; files in the set's folder, times in seconds."""

    utterance: str
    speaker: str
    files: Mapping[Reference, Path] = field(default_factory=dict)
    text: str | None = None
    start: float = 0.0
    end: float | None = None


@dataclass(frozen=True)
class Found:
    """A mixture as a set tells it, unchecked."""

    id: str
    audio: Path
    sources: tuple[FoundSource, ...]
    noise: Path | None = None


@dataclass
class Problems:
    """What does not fit, by reason: how often, and the first one."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, what: str) -> None:
        """One more with something wrong."""
        self.counts[reason] += 1
        self.first.setdefault(reason, what)

    def __str__(self) -> str:
        return "; ".join(f"{count} {reason} (the first: {self.first[reason]})" for reason, count in self.counts.items())


def folder(path: Path, kind: str, wanted: str, remedy: str = "check dataset.path") -> Path:
    """A folder of a set.

    Raises:
        SepasrError: where it is not there.
    """
    if not path.is_dir():
        raise SepasrError(f"dataset {kind}: {path}: no such folder; expected {wanted}, {remedy}")
    return path


def transcripts_of(texts: Mapping[str, str] | None, rule: TextRule, utterance: str) -> str | None:
    """The words of an utterance by a text rule; None where there are no transcripts, or none of it."""
    text = None if texts is None else texts.get(utterance.lower())
    return None if text is None else normalise(text, rule)


def admit(
    found: Iterable[Found],
    config: Dataset,
    split: Split,
    name: str,
    *,
    sample_rate: int,
    with_text: bool,
    skip_bad: bool,
    problems: Problems | None = None,
    expected: int | None = None,
) -> list[Mixture]:
    """The manifest lines of a split, every file's header read and compared.

    Args:
        found: the mixtures in a stable order.
        config: the settings of the set.
        split: of the run.
        name: of the split in the set, for messages.
        sample_rate: of the run, in Hz.
        with_text: every source must have a transcript.
        skip_bad: leave out and count mixtures with something wrong.
        problems: what was found wrong before.
        expected: how many mixtures the published set has.

    Raises:
        SepasrError: with all that is wrong in one line, unless bad ones are skipped; where nothing is left.
    """
    chosen = evenly(list(found), config.mixtures.get(split))
    problems = problems or Problems()
    kind = getattr(config, "kind", "")
    if expected is not None and len(chosen) != expected and config.mixtures.get(split) is None:
        warn(f"dataset {kind} {name}: {len(chosen)} mixtures found, the published set has {expected}")
    mixtures = []
    with progress(f"read {name}", total=len(chosen)) as advance:
        for one in chosen:
            mixture = _check(one, config, sample_rate, with_text, problems)
            if mixture is not None:
                mixtures.append(mixture)
            advance()
    total = sum(problems.counts.values())
    if total and not skip_bad:
        raise SepasrError(f"dataset {kind} {name}: {problems}; mend them, or pass --skip-bad to leave them out")
    if total:
        warn(f"dataset {kind} {name}: left out: {problems}")
    if not mixtures:
        raise SepasrError(f"dataset {kind} {name}: no mixture found below {config.path}; check dataset.path")
    return mixtures


def evenly(found: Sequence[Item], count: int | None) -> Sequence[Item]:
    """So many items, spread evenly over all.

    >>> evenly("abcdef", 3), evenly("ab", None)
    (['a', 'c', 'e'], 'ab')
    """
    if count is None or count >= len(found):
        return found
    return [found[place * len(found) // count] for place in range(count)]


def _check(one: Found, config: Dataset, rate: int, with_text: bool, problems: Problems) -> Mixture | None:
    """The manifest line of a mixture, or None where something is wrong with it."""
    headers: dict[Path, AudioInfo] = {}
    paths = [one.audio, *([one.noise] if one.noise else []), *(p for s in one.sources for p in s.files.values())]
    try:
        for path in paths:
            if path not in headers:
                headers[path] = info(path)
    except SepasrError as error:
        problems.add("with audio that cannot be read", str(error))
        return None
    mixture = headers[one.audio]
    if mixture.frames == 0:
        problems.add("without samples", str(one.audio))
        return None
    for path, header in headers.items():
        if header.sample_rate != rate:
            problems.add("of another sample rate", f"{path}: {header.sample_rate} Hz, the run works at {rate} Hz")
            return None
        if header.frames != mixture.frames:
            lengths = f"{header.frames} samples, its mixture has {mixture.frames}"
            problems.add("of another length", f"{path}: {lengths}")
            return None
    if mixture.channels < config.microphones:
        channels = f"{mixture.channels}, at least {config.microphones} expected"
        problems.add("with too few channels", f"{one.audio}: {channels}")
        return None
    for source in one.sources:
        if with_text and not source.text:
            problems.add("without a transcript", f"{one.audio}: utterance '{source.utterance}'")
            return None
        # Tables of times are rounded; a few milliseconds past the end is no mistake.
        end = mixture.duration if source.end is None else source.end
        if not 0 <= source.start < end <= mixture.duration + 0.01:
            times = f"'{source.utterance}' from {source.start:g} to {end:g} s of {mixture.duration:g} s"
            problems.add("with times outside the file", f"{one.audio}: {times}")
            return None
    return _line(one, config, mixture)


def _line(one: Found, config: Dataset, header: AudioInfo) -> Mixture:
    def name(path: Path) -> str:
        return f"{DATASET}/{path.relative_to(config.path).as_posix()}"

    return Mixture(
        id=one.id,
        audio=name(one.audio),
        sample_rate=header.sample_rate,
        duration=header.duration,
        sources=tuple(
            Source(
                speaker=source.speaker,
                text=source.text,
                utterance=source.utterance,
                start=source.start,
                end=header.duration if source.end is None else min(source.end, header.duration),
                **{kind: name(path) for kind, path in source.files.items()},
            )
            for source in one.sources
        ),
        reference_microphone=config.reference_microphone,
        noise_audio=name(one.noise) if one.noise else None,
    )


def audio_of(
    base: Path, mixtures: str, sources: Sequence[Mapping[Reference, Path]], noise: str | None, problems: Problems
) -> list[tuple[Path, list[dict[Reference, Path]], Path | None]]:
    """The files of each mixture in a tree of folders that hold one file of the same name each.

    Args:
        base: folder of the split.
        mixtures: its folder of mixtures.
        sources: of each speaker, the folder of each reference.
        noise: its folder of noise, where it has one.
        problems: where names that only some of the folders have are noted.

    Returns:
        Mixture, references of each speaker, noise, ordered by name; only where every folder has the file.
    """
    places = {base / mixtures, *(place for one in sources for place in one.values())}
    places |= {base / noise} if noise else set()
    names = {place: {path.name for path in place.iterdir() if path.suffix in ENDINGS} for place in places}
    everywhere = set.intersection(*names.values())
    for name in sorted(set.union(*names.values()) - everywhere):
        lacking = sorted(str(place) for place in places if name not in names[place])
        problems.add("without a file in every folder", f"{name} is not in {lacking[0]}")
    return [
        (
            base / mixtures / name,
            [{kind: place / name for kind, place in one.items()} for one in sources],
            base / noise / name if noise else None,
        )
        for name in sorted(everywhere)
    ]
