"""Who said what when, and the formats it is written in and read from.

The truth is SegLST (https://github.com/fgnt/meeteval): a JSON list of segments. Some formats hold less; `lost` says
what of given segments. Times are seconds from the recording's start, and segments of two speakers may overlap.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from sepasr_cli.errors import ArgumentError, SepasrError
from sepasr_cli.files import write_text
from sepasr_cli.transcripts import nist, seglst, subtitles, tables, textgrid
from sepasr_cli.transcripts.segment import Segment, by_speaker, in_time

__all__ = [
    "FORMATS",
    "Form",
    "Format",
    "Segment",
    "by_speaker",
    "check_many",
    "ending",
    "format_of",
    "lost",
    "parse_formats",
    "read",
    "render",
    "write",
]

#: Name of a format, and the ending of its files.
Format = Literal["json", "stm", "ctm", "rttm", "srt", "vtt", "textgrid", "tsv", "txt"]

#: What a format may keep: words; times of segments, and all their digits; segments as they were parted, and those
#: without words; times and confidences of words; several recordings in a file, and names that hold blanks.
Kept = Literal[
    "words", "times", "digits", "segments", "silence", "word_times", "confidences", "recordings", "blanks in names"
]


@dataclass(frozen=True)
class Form:
    """A format: what it is called, how it is written and read, and what it keeps.

    `read` takes the text, what to call it in errors, and the session of a recording that the text does not name.
    """

    title: str
    write: Callable[[Sequence[Segment]], str]
    read: Callable[[str, str, str], list[Segment]]
    keeps: tuple[Kept, ...]


_TABLE: tuple[Kept, ...] = ("words", "times", "digits", "segments", "silence", "recordings")
_SUBTITLES: tuple[Kept, ...] = ("words", "times", "segments", "blanks in names")

FORMATS: dict[Format, Form] = {
    "json": Form("SegLST", seglst.write, seglst.read, get_args(Kept)),
    "stm": Form("STM", nist.write_stm, nist.read_stm, _TABLE),
    "ctm": Form("CTM", nist.write_ctm, nist.read_ctm, ("words", "digits", "word_times", "confidences", "recordings")),
    "rttm": Form("RTTM", nist.write_rttm, nist.read_rttm, ("times", "digits", "segments", "silence", "recordings")),
    "srt": Form("SRT", subtitles.write_srt, subtitles.read_srt, _SUBTITLES),
    "vtt": Form("WebVTT", subtitles.write_vtt, subtitles.read_vtt, _SUBTITLES),
    "textgrid": Form("TextGrid", textgrid.write, textgrid.read, (*_SUBTITLES, "digits", "word_times")),
    "tsv": Form("TSV", tables.write_tsv, tables.read_tsv, (*_TABLE, "blanks in names")),
    "txt": Form("plain text", tables.write_text, tables.read_text, ("words", "silence", "recordings")),
}


def render(segments: Sequence[Segment], kind: Format) -> str:
    """Segments as the text of a file.

    Raises:
        SepasrError: where the format holds one recording and several are given.
    """
    check_many(kind, len({segment.session_id for segment in segments}))
    return FORMATS[kind].write(segments)


def write(path: Path, segments: Sequence[Segment], kind: Format | None = None) -> None:
    """Write segments whole or not at all; the format is `kind`, or told by the ending.

    Raises:
        SepasrError: where the format is unknown, or holds one recording only and several are given.
    """
    write_text(path, render(segments, kind or format_of(path)))


def read(path: Path, session: str | None = None) -> list[Segment]:
    """Read segments in any format. Plain text has no times: all of them are 0.

    Args:
        path: the file, whose ending tells the format.
        session: the recording's name where the format names none; by default the file's.

    Raises:
        SepasrError: naming the file and place of what is wrong.
    """
    if not path.is_file():
        raise SepasrError(f"{path}: no such transcript; check the path")
    kind = format_of(path)
    raw = path.read_bytes()
    try:
        # Praat writes UTF-16, with its mark, where a text needs it.
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        raise SepasrError(f"{path}: not UTF-8 text; expected a transcript") from None
    return FORMATS[kind].read(text, str(path), path.stem if session is None else session)


def format_of(path: Path) -> Format:
    """The format told by a file's ending.

    >>> format_of(Path("meeting.seglst.json")), format_of(Path("meeting.TextGrid"))
    ('json', 'textgrid')

    Raises:
        SepasrError: where the ending is none of ours.
    """
    for kind in FORMATS:
        if path.suffix.lower() == f".{kind}":
            return kind
    raise SepasrError(f"{path}: unknown ending '{path.suffix}'; expected one of .{', .'.join(FORMATS)}")


def ending(kind: Format) -> str:
    """The ending of a format's files, as others know it.

    >>> ending("json"), ending("textgrid")
    ('.json', '.TextGrid')
    """
    return ".TextGrid" if kind == "textgrid" else f".{kind}"


def parse_formats(text: str | Iterable[str]) -> list[Format]:
    """The formats of `--format`: names parted by commas, or a list of them.

    >>> parse_formats("json,srt"), parse_formats(["stm", "ctm,rttm"])
    (['json', 'srt'], ['stm', 'ctm', 'rttm'])

    Raises:
        ArgumentError: where one is unknown.
    """
    names = [name.strip() for part in ([text] if isinstance(text, str) else text) for name in part.split(",")]
    if unknown := [name for name in names if name not in FORMATS]:
        raise ArgumentError(f"--format '{unknown[0]}' is unknown; expected one of {', '.join(FORMATS)}")
    return [kind for kind in FORMATS if kind in names]


def check_many(kind: Format, recordings: int) -> None:
    """See that one file of a format holds so many recordings.

    Raises:
        SepasrError: where it does not.
    """
    if recordings > 1 and "recordings" not in FORMATS[kind].keeps:
        title = FORMATS[kind].title
        raise SepasrError(f"{title} holds one recording, found {recordings}; give --out a folder for one file each")


def lost(segments: Sequence[Segment], kind: Format) -> list[str]:
    """What of these segments the format cannot say, and what it does instead; nothing where all is kept.

    >>> lost([Segment(session_id="a", speaker="x", start_time=0, end_time=1, words="HI")], "rttm")
    ['the words of 1 segment (left out)']
    """
    keeps = FORMATS[kind].keeps
    spoken = [segment for segment in segments if segment.text]
    found: list[tuple[str, int, str, str]] = []
    if "words" not in keeps:
        found.append(("the words", len(spoken), "segment", "left out"))
    if "silence" not in keeps:
        found.append(("all", len(segments) - len(spoken), "segment without words", "left out"))
    if kind == "txt":
        found.append(("the times", len(segments), "segment", "each speaker's words are one line"))
        found.append(("the overlap", _overlaps(spoken), "segment", "one speaker's line stands below the other's"))
    if kind == "ctm":
        guessed = sum(segment.word_times is None for segment in spoken)
        found.append(("the borders", len(spoken), "segment", "only those of words are written"))
        found.append(("unknown word times", guessed, "segment", "its words share it evenly"))
    if kind == "textgrid":
        tiers: dict[tuple[str, str], list[Segment]] = {}
        for segment in spoken:
            tiers.setdefault((segment.session_id, segment.speaker), []).append(segment)
        joined = len(spoken) - sum(len(textgrid.apart(tier)) for tier in tiers.values())
        found.append(("overlap with the same speaker", joined, "segment", "joined with the one before"))
    if "word_times" not in keeps:
        found.append(("the word times", sum(one.word_times is not None for one in spoken), "segment", "left out"))
    if "confidences" not in keeps:
        sure = sum(one.word_confidences is not None for one in spoken)
        found.append(("the word confidences", sure, "segment", "left out"))
    if kind in ("srt", "vtt"):
        fine = sum(round(time, 3) != time for one in spoken for time in (one.start_time, one.end_time))
        found.append(("digits", fine, "time", "rounded to milliseconds"))
    if "blanks in names" not in keeps and kind != "txt":
        names = {name for segment in segments for name in (segment.session_id, segment.speaker)}
        found.append(("blanks", sum(len(name.split()) > 1 for name in names), "name", "written as _"))
    return [f"{what} of {_counted(count, noun)} ({instead})" for what, count, noun, instead in found if count]


def _counted(count: int, noun: str) -> str:
    first, _, rest = noun.partition(" ")
    return f"{count} {first}{'s' * (count > 1)} {rest}".rstrip()


def _overlaps(segments: Sequence[Segment]) -> int:
    """How many segments begin while another speaker of the recording still speaks."""
    ends: dict[str, dict[str, float]] = {}
    count = 0
    for segment in in_time(segments):
        others = ends.setdefault(segment.session_id, {})
        count += any(end > segment.start_time for speaker, end in others.items() if speaker != segment.speaker)
        others[segment.speaker] = max(segment.end_time, others.get(segment.speaker, 0.0))
    return count
