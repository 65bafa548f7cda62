"""Subtitles: SRT and WebVTT (https://www.w3.org/TR/webvtt1), one recording a file, times to the millisecond.

Cues of two speakers may overlap; players show both. The speaker stands before the words (SRT, where nothing better is
agreed on) or in a voice tag (WebVTT).
"""

import html
import re
from collections.abc import Callable, Sequence

from sepasr_cli.errors import SepasrError
from sepasr_cli.transcripts.segment import Segment, in_time

#: Who speaks in a cue that does not say.
UNKNOWN = "unknown"

_ARROW = re.compile(r"\s*([\d:.,]+)\s*-->\s*([\d:.,]+)")
_CLOCK = re.compile(r"(?:(\d+):)?(\d\d?):(\d\d?)(?:[.,](\d{1,3}))?")
_NAMED = re.compile(r"([^:\n]{1,60}): ?(.*)", re.DOTALL)
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]*)>(.*?)(?=</v>|<v[\s.]|\Z)", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
#: What players of SRT take for formatting; anything else in brackets is a word, as <unk>.
_SRT_TAG = re.compile(r"</?(?:b|i|u|s|font)(?:\s[^>]*)?>", re.IGNORECASE)


def write_srt(segments: Sequence[Segment]) -> str:
    """Numbered cues `speaker: words`."""
    return "".join(
        f"{number}\n{_arrow(segment, ',')}\n{segment.speaker.replace(':', '_')}: {segment.text}\n\n"
        for number, segment in enumerate(_spoken(segments), 1)
    )


def write_vtt(segments: Sequence[Segment]) -> str:
    """Cues `<v speaker>words`."""
    return "WEBVTT\n\n" + "".join(
        f"{_arrow(segment, '.')}\n<v {_escaped(segment.speaker)}>{_escaped(segment.text)}\n\n"
        for segment in _spoken(segments)
    )


def read_srt(text: str, origin: str, session: str) -> list[Segment]:
    """Cues as segments; what stands before a colon is the speaker."""
    return _cues(text, origin, session, _named)


def read_vtt(text: str, origin: str, session: str) -> list[Segment]:
    """Cues as segments, a cue of several voices as one for each; notes and styles are left out."""
    if not text.startswith("WEBVTT"):
        raise SepasrError(f"{origin}: does not begin with WEBVTT; expected WebVTT subtitles")
    return _cues(text, origin, session, _voices)


def _spoken(segments: Sequence[Segment]) -> list[Segment]:
    return in_time(segment for segment in segments if segment.text)


def _arrow(segment: Segment, mark: str) -> str:
    start = round(segment.start_time * 1000)
    # A cue must last.
    end = max(round(segment.end_time * 1000), start + 1)
    return f"{_clock(start, mark)} --> {_clock(end, mark)}"


def _clock(milliseconds: int, mark: str) -> str:
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{mark}{rest % 1000:03}"


def _escaped(text: str) -> str:
    return html.escape(" ".join(text.split()), quote=False)


def _cues(text: str, origin: str, session: str, speakers: Callable[[str], list[tuple[str, str]]]) -> list[Segment]:
    """Segments of every cue: a line with an arrow, and the lines that follow it up to an empty one."""
    segments = []
    if text.strip() and "-->" not in text and not text.startswith("WEBVTT"):
        raise SepasrError(f"{origin}: holds no times such as 00:00:01,000 --> 00:00:02,500; expected subtitles")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    numbers = iter(range(len(lines)))
    for number in numbers:
        if "-->" not in lines[number]:
            continue
        start, end = _times(lines[number], f"{origin}:{number + 1}")
        said = []
        for following in numbers:
            if not lines[following].strip():
                break
            said.append(lines[following])
        for speaker, words in speakers("\n".join(said)):
            plain, named = " ".join(words.split()), " ".join(speaker.split()) or UNKNOWN
            segments.append(Segment(session_id=session, speaker=named, start_time=start, end_time=end, words=plain))
    return segments


def _times(line: str, place: str) -> tuple[float, float]:
    arrow = _ARROW.match(line)
    clocks = [_CLOCK.fullmatch(part) for part in arrow.groups()] if arrow else []
    if len(clocks) != 2 or clocks[0] is None or clocks[1] is None:
        raise SepasrError(f"{place}: found '{line.strip()}', expected times as 00:00:01.000 --> 00:00:02.500")
    start, end = (_seconds(clock) for clock in clocks if clock)
    if end < start:
        raise SepasrError(f"{place}: a cue ends at {end:g} s, before it starts at {start:g} s")
    return start, end


def _seconds(clock: re.Match[str]) -> float:
    hours, minutes, whole, part = clock.groups(default="0")
    return (int(hours) * 3_600_000 + int(minutes) * 60_000 + int(whole) * 1000 + int(part.ljust(3, "0"))) / 1000


def _named(text: str) -> list[tuple[str, str]]:
    plain = _SRT_TAG.sub("", text)
    match = _NAMED.match(plain)
    return [(match[1], match[2])] if match else [(UNKNOWN, plain)]


def _voices(text: str) -> list[tuple[str, str]]:
    voices = [(match[1], match[2]) for match in _VOICE.finditer(text)] or [(UNKNOWN, text)]
    return [(html.unescape(speaker), html.unescape(_TAG.sub("", words))) for speaker, words in voices]
