"""What all readers share: the choice of utterances in a configuration, and the checks before one is taken."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from sepasr_cli.audio import AudioInfo, info
from sepasr_cli.corpora.text import TextRule, normalise
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import read_text
from sepasr_cli.manifest import Utterance
from sepasr_cli.progress import warn
from sepasr_cli.settings import Settings


class Corpus(Settings):
    """Which part of a corpus is taken, and how. Patterns are those of file names: `*`, `?`, `[abc]`."""

    path: Path
    speakers: tuple[str, ...] | Path | None = Field(
        None, description="names, or a file with one name a line; None: all"
    )
    include: tuple[str, ...] = Field((), description="patterns, one of which an id must match; empty: all")
    exclude: tuple[str, ...] = Field((), description="patterns, none of which an id may match")
    max_utterances: int | None = Field(None, gt=0, description="at most so many, spread evenly over the corpus")
    min_duration: float = Field(0.0, ge=0, description="seconds; shorter utterances are left out")
    max_duration: float | None = Field(None, gt=0, description="seconds; longer utterances are left out")
    transcripts: Literal[True, False, "unread"] = Field(
        True, description="every utterance must have one; false: text where there is some; unread: no text at all"
    )
    text: TextRule = "upper"
    resample: bool = Field(False, description="take audio of another sample rate than the run's, resampled when read")
    prefix: str = Field("", description="put before ids and speakers, to tell corpora apart")

    @model_validator(mode="after")
    def _durations_fit(self) -> Self:
        if self.max_duration is not None and self.max_duration <= self.min_duration:
            raise ValueError(f"max_duration {self.max_duration:g} must be above min_duration {self.min_duration:g}")
        return self


@dataclass(frozen=True)
class Entry:
    """What a corpus says of one utterance, unchecked; `origin` is the file (and line) that says it."""

    id: str
    audio: Path
    speaker: str
    text: str | None
    origin: str
    start: float = 0.0
    end: float | None = None


@dataclass
class Checks:
    """What an utterance must be, and what happens to one that is not: an error, or it is left out and counted."""

    sample_rate: int | None = None
    skip_bad: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def problem(self, reason: str, line: str) -> None:
        """One bad utterance.

        Raises:
            SepasrError: `line`, unless bad utterances are skipped.
        """
        if not self.skip_bad:
            raise SepasrError(line)
        self.counts[reason] += 1
        self.examples.setdefault(reason, line)

    def report(self) -> None:
        """Warn of what was left out: a line a reason, with the count and the first example."""
        for reason, count in self.counts.items():
            warn(f"{count} utterance{'s' if count > 1 else ''} left out, {reason}; the first: {self.examples[reason]}")


def folder(path: Path, kind: str, *wanted: str) -> Path:
    """The absolute path of a corpus folder.

    Raises:
        SepasrError: where it is missing or lacks one of the names `wanted`.
    """
    if not path.is_dir():
        raise SepasrError(f"corpus {kind}: {path}: no such folder; check 'path' in the recipe")
    for name in wanted:
        if not (path / name).exists():
            raise SepasrError(
                f"corpus {kind}: {path}: holds no {name}; expected the layout of {kind}, check 'path' in the recipe"
            )
    return path.absolute()


def lines(path: Path) -> list[tuple[int, str]]:
    """Numbers and content of a text file's lines, empty ones left out.

    Raises:
        SepasrError: where it is missing or not UTF-8.
    """
    text = read_text(path, "check the path")
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def admit(entries: Iterable[Entry], config: Corpus, checks: Checks | None = None) -> list[Utterance]:
    """The utterances that the configuration chooses, in the order of the entries, each checked.

    Raises:
        SepasrError: for a speaker that the corpus does not have, where nothing is left, and, unless bad ones are
            skipped, for a repeated id, a missing transcript, or audio missing, broken, empty or of another rate.
    """
    checks = checks or Checks()
    everything = list(entries)
    chosen = _select(everything, config)
    headers: dict[Path, AudioInfo | str] = {}
    seen: dict[str, Entry] = {}
    found: list[Utterance] = []
    for entry in chosen:
        if entry.id in seen:
            first = seen[entry.id].origin
            checks.problem(
                "repeated id", f"{entry.origin}: id '{entry.id}' is already used by {first}; ids must be unique"
            )
            continue
        seen[entry.id] = entry
        utterance = _check(entry, config, checks, headers)
        if utterance is not None and config.min_duration <= utterance.duration <= (config.max_duration or float("inf")):
            found.append(utterance)
    if not found:
        skipped = f", {checks.counts.total()} of them bad" if checks.counts else ""
        raise SepasrError(
            f"corpus {config.path}: no utterance left of {len(everything)} found{skipped}; "
            "check path, speakers, include, exclude and durations in the recipe"
        )
    if config.max_utterances is not None and len(found) > config.max_utterances:
        step = len(found) / config.max_utterances
        found = [found[int(place * step)] for place in range(config.max_utterances)]
    return found


def _select(entries: list[Entry], config: Corpus) -> list[Entry]:
    wanted: set[str] | None = None
    if config.speakers is not None:
        names = [line for _, line in lines(config.speakers)] if isinstance(config.speakers, Path) else config.speakers
        wanted = set(names)
        unknown = sorted(wanted - {entry.speaker for entry in entries})
        if unknown:
            raise SepasrError(
                f"corpus {config.path}: speaker '{unknown[0]}' asked for is not in it "
                f"({len(unknown)} of {len(wanted)} are not); check 'speakers' in the recipe"
            )
    return [
        entry
        for entry in entries
        if (wanted is None or entry.speaker in wanted)
        and (not config.include or any(fnmatchcase(entry.id, pattern) for pattern in config.include))
        and not any(fnmatchcase(entry.id, pattern) for pattern in config.exclude)
    ]


def _check(entry: Entry, config: Corpus, checks: Checks, headers: dict[Path, AudioInfo | str]) -> Utterance | None:
    text = None
    if entry.text is not None and config.transcripts != "unread":
        text = normalise(entry.text, config.text)
    if not text and config.transcripts is True:
        missing = (
            "has no transcript" if entry.text is None else f"has a transcript without words ({entry.text.strip()!r})"
        )
        remedy = "add one, or set transcripts: false where the corpus serves separation alone"
        checks.problem("no transcript", f"{entry.origin}: '{entry.id}' {missing}; {remedy}")
        return None
    if entry.audio not in headers:
        headers[entry.audio] = _header(entry.audio)
    header = headers[entry.audio]
    if isinstance(header, str):
        checks.problem("audio that cannot be read", header)
        return None
    end = header.duration if entry.end is None else entry.end
    if header.frames == 0 or end <= entry.start:
        times = f"'{entry.id}' lasts from {entry.start:g} to {end:g} s"
        part = "the file holds no samples" if header.frames == 0 else times
        checks.problem("no duration", f"{entry.audio}: {part}; expected some audio, mend or remove the entry")
        return None
    # Tables of times are rounded; a few milliseconds past the end is no mistake.
    if end > header.duration + 0.01 or entry.start < 0:
        times = f"{entry.start:g} to {end:g} s, its file {entry.audio} from 0 to {header.duration:g} s"
        checks.problem("times outside the file", f"{entry.origin}: '{entry.id}' lasts from {times}; check the times")
        return None
    if checks.sample_rate is not None and header.sample_rate != checks.sample_rate and not config.resample:
        line = f"{entry.audio}: sample rate {header.sample_rate} Hz, the run works at {checks.sample_rate} Hz"
        checks.problem(
            "another sample rate", f"{line}; set resample: true for this corpus, or change the run's sample_rate"
        )
        return None
    end = min(end, header.duration)
    return Utterance(
        id=config.prefix + entry.id,
        audio=entry.audio,
        speaker=config.prefix + entry.speaker,
        text=text or None,
        start=entry.start,
        end=None if entry.end is None else end,
        sample_rate=header.sample_rate,
        duration=end - entry.start,
    )


def _header(path: Path) -> AudioInfo | str:
    """A file's header, or the line that says why there is none."""
    try:
        if path.suffix.lower() in (".sph", ".wv1", ".wv2") and path.is_file():
            with path.open("rb") as handle:
                if b"shorten" in handle.read(1024):
                    return f"{path}: NIST SPHERE compressed with shorten, not readable; convert it to WAV with sph2pipe"
        return info(path)
    except SepasrError as error:
        return str(error)
