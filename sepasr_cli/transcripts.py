"""Who said what when, and the formats it is written in.

The truth is SegLST (https://github.com/fgnt/meeteval): a JSON list of segments. The other formats are written from it;
segments of two speakers may overlap in all of them. Times are seconds from the recording's start.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from pydantic import model_validator
from typing_extensions import Self

from sepasr_cli.errors import SepasrError
from sepasr_cli.files import write_text
from sepasr_cli.settings import Settings, validate

#: Name of a format, which is also the ending of its files.
Format = Literal["json", "stm", "ctm", "rttm", "srt", "vtt", "txt"]


class Segment(Settings):
    """One speaker's words between two times; `word_times` holds (start, end) of each word where they are known."""

    session_id: str
    speaker: str
    start_time: float
    end_time: float
    words: str
    word_times: tuple[tuple[float, float], ...] | None = None

    @model_validator(mode="after")
    def _times_fit(self) -> Self:
        if self.end_time < self.start_time:
            raise ValueError(f"end_time is {self.end_time}, before start_time {self.start_time}")
        if self.word_times is not None and len(self.word_times) != len(self.words.split()):
            raise ValueError(f"{len(self.word_times)} word times for {len(self.words.split())} words")
        return self


def write(path: Path, segments: Sequence[Segment], kind: Format | None = None) -> None:
    """Write segments whole or not at all; the format is `kind`, or told by the ending.

    Raises:
        SepasrError: where the format is unknown, or holds one recording only and several are given.
    """
    text = WRITERS[kind or format_of(path)](segments)
    write_text(path, text)


def read(path: Path) -> list[Segment]:
    """Read segments from SegLST (.json) or STM.

    Raises:
        SepasrError: naming the file and place of what is wrong.
    """
    if not path.is_file():
        raise SepasrError(f"{path}: no such transcript; check the path")
    kind = format_of(path)
    if kind not in READERS:
        raise SepasrError(f"{path}: cannot read {kind}; expected one of {', '.join(READERS)}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SepasrError(f"{path}: not UTF-8 text; expected a transcript") from None
    return READERS[kind](text, str(path))


def format_of(path: Path) -> Format:
    """The format told by a file's ending.

    >>> format_of(Path("meeting.seglst.json"))
    'json'

    Raises:
        SepasrError: where the ending is none of ours.
    """
    for kind in get_args(Format):
        if path.suffix.lower() == f".{kind}":
            return kind
    raise SepasrError(f"{path}: unknown ending '{path.suffix}'; expected one of .{', .'.join(get_args(Format))}")


def by_speaker(segments: Iterable[Segment]) -> dict[str, dict[str, str]]:
    """All words of each speaker of each session, in the order of time.

    >>> late = Segment(session_id="a", speaker="x", start_time=1, end_time=2, words="B")
    >>> by_speaker([late, late.model_copy(update={"start_time": 0.0, "words": "A"})])
    {'a': {'x': 'A B'}}
    """
    found: dict[str, dict[str, list[str]]] = {}
    for segment in sorted(segments, key=lambda segment: segment.start_time):
        found.setdefault(segment.session_id, {}).setdefault(segment.speaker, []).extend(segment.words.split())
    return {
        session: {speaker: " ".join(words) for speaker, words in speakers.items()}
        for session, speakers in found.items()
    }


def _seconds(time: float) -> str:
    """A time without exponent or loss, with at least three decimals."""
    return np.format_float_positional(time, min_digits=3)


def _field(text: str) -> str:
    """A name as one field of a line whose fields are parted by blanks."""
    return "_".join(text.split()) or "-"


def check_many(kind: Format, recordings: int) -> None:
    """See that one file of a format holds so many recordings.

    Raises:
        SepasrError: where it does not.
    """
    if kind in ("srt", "vtt") and recordings > 1:
        name = {"srt": "SRT", "vtt": "WebVTT"}[kind]
        raise SepasrError(f"{name} holds one recording, found {recordings}; give --out a folder for one file each")


def _one_recording(segments: Sequence[Segment], kind: Format) -> list[Segment]:
    check_many(kind, len({segment.session_id for segment in segments}))
    return sorted(segments, key=lambda segment: segment.start_time)


def _clock(time: float, mark: str) -> str:
    milliseconds = round(time * 1000)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{mark}{rest % 1000:03}"


def _write_json(segments: Sequence[Segment]) -> str:
    records = [segment.model_dump(mode="json", exclude_none=True) for segment in segments]
    return json.dumps(records, indent=2, ensure_ascii=False) + "\n"


def _write_stm(segments: Sequence[Segment]) -> str:
    return "".join(
        f"{_field(segment.session_id)} 1 {_field(segment.speaker)} "
        f"{_seconds(segment.start_time)} {_seconds(segment.end_time)} {segment.words}".rstrip()
        + "\n"
        for segment in segments
    )


def _write_ctm(segments: Sequence[Segment]) -> str:
    """One word a line, the speaker as channel; words whose times are unknown share their segment evenly."""
    lines = []
    for segment in segments:
        words = segment.words.split()
        edges = np.linspace(segment.start_time, segment.end_time, len(words) + 1)
        times = segment.word_times or tuple(pairwise(edges))
        for word, (start, end) in zip(words, times, strict=True):
            name = f"{_field(segment.session_id)} {_field(segment.speaker)}"
            lines.append(f"{name} {start:.3f} {end - start:.3f} {word}\n")
    return "".join(lines)


def _write_rttm(segments: Sequence[Segment]) -> str:
    return "".join(
        f"SPEAKER {_field(segment.session_id)} 1 {segment.start_time:.3f} {segment.end_time - segment.start_time:.3f} "
        f"<NA> <NA> {_field(segment.speaker)} <NA> <NA>\n"
        for segment in segments
    )


def _write_srt(segments: Sequence[Segment]) -> str:
    return "".join(
        f"{number}\n{_clock(segment.start_time, ',')} --> {_clock(segment.end_time, ',')}\n"
        f"{segment.speaker}: {segment.words}\n\n"
        for number, segment in enumerate(_one_recording(segments, "srt"), 1)
    )


def _write_vtt(segments: Sequence[Segment]) -> str:
    return "WEBVTT\n\n" + "".join(
        f"{_clock(segment.start_time, '.')} --> {_clock(segment.end_time, '.')}\n"
        f"<v {segment.speaker}>{segment.words}\n\n"
        for segment in _one_recording(segments, "vtt")
    )


def _write_txt(segments: Sequence[Segment]) -> str:
    return "".join(
        f"{session}  {speaker}: {words}".rstrip() + "\n"
        for session, speakers in by_speaker(segments).items()
        for speaker, words in speakers.items()
    )


def _read_json(text: str, origin: str) -> list[Segment]:
    try:
        records = json.loads(text)
    except ValueError as error:
        raise SepasrError(f"{origin}: not JSON ({error}); expected a list of segments (SegLST)") from None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise SepasrError(f"{origin}: expected a JSON list of segments (SegLST), one object each")
    return [
        validate(Segment, _known(record), f"{origin}: segment {number}") for number, record in enumerate(records, 1)
    ]


def _known(record: dict[str, Any]) -> dict[str, Any]:
    """The keys that we keep (SegLST allows any others), names as text."""
    kept = {key: value for key, value in record.items() if key in Segment.model_fields}
    return kept | {key: str(kept[key]) for key in ("session_id", "speaker") if key in kept}


def _read_stm(text: str, origin: str) -> list[Segment]:
    segments = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith(";;"):
            continue
        fields = line.split(maxsplit=5)
        if len(fields) < 5:
            raise SepasrError(
                f"{origin}:{number}: {len(fields)} fields found, expected session, channel, speaker, start, end, words"
            )
        session, _, speaker, start, end = fields[:5]
        values = {"session_id": session, "speaker": speaker, "start_time": start, "end_time": end}
        segments.append(validate(Segment, values | {"words": " ".join(fields[5:])}, f"{origin}:{number}"))
    return segments


WRITERS: dict[str, Callable[[Sequence[Segment]], str]] = {
    "json": _write_json,
    "stm": _write_stm,
    "ctm": _write_ctm,
    "rttm": _write_rttm,
    "srt": _write_srt,
    "vtt": _write_vtt,
    "txt": _write_txt,
}
READERS: dict[str, Callable[[str, str], list[Segment]]] = {"json": _read_json, "stm": _read_stm}
