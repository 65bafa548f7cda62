"""The formats of NIST's evaluations: lines of fields parted by blanks, `;;` before a comment.

STM and CTM: OpenASR20 evaluation plan; RTTM: 2009 (RT-09) Rich Transcription evaluation plan, appendix A. A field
holds no blank, so that blanks in names become `_`. Times are written without loss, as MeetEval reads them.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from sepasr_cli.errors import SepasrError
from sepasr_cli.settings import validate
from sepasr_cli.transcripts.segment import Segment, Word, duration, end_of, in_time, seconds, segment_of, words_of

#: Seconds of silence after which a CTM file's next word begins another segment.
PAUSE = 1.0

#: What may stand before the words of an STM line, as `<o,f0,male>`.
_LABEL = re.compile(r"<[^<>\s]*,[^<>\s]*>\s*")


def write_stm(segments: Sequence[Segment]) -> str:
    """`session channel speaker start end words`."""
    return _lines(
        f"{_field(segment.session_id)} 1 {_field(segment.speaker)} "
        f"{seconds(segment.start_time)} {seconds(segment.end_time)} {segment.text}"
        for segment in segments
    )


def read_stm(text: str, origin: str, session: str) -> list[Segment]:
    """Segments of an STM file; channels and labels are left out."""
    segments = []
    for place, line in _content(text, origin):
        fields = _fields(line, place, "session, channel, speaker, start, end, words", least=5, most=6)
        name, _, speaker, start, end, *words = fields
        spoken = _LABEL.sub("", words[0], count=1) if words and _LABEL.match(words[0]) else " ".join(words)
        values = {"session_id": name, "speaker": speaker, "start_time": start, "end_time": end, "words": spoken}
        segments.append(validate(Segment, values, place))
    return segments


def write_ctm(segments: Sequence[Segment]) -> str:
    """`session speaker start duration word [confidence]`: a word a line, the speaker in the channel's place."""
    return _lines(
        f"{_field(segment.session_id)} {_field(segment.speaker)} "
        f"{seconds(word.start)} {duration(word.start, word.end)} {word.text}"
        + ("" if word.confidence is None else f" {seconds(word.confidence)}")
        for segment in segments
        for word in words_of(segment)
    )


def read_ctm(text: str, origin: str, session: str) -> list[Segment]:
    """Segments of a CTM file: the words of a channel, which is the speaker, up to a pause."""
    spoken: dict[tuple[str, str], list[Word]] = {}
    for place, line in _content(text, origin):
        fields = _fields(line, place, "session, speaker, start, duration, word", least=5)
        name, speaker, start, length, word, *more = fields
        first, last = _times(start, length, place)
        sure = None if not more or more[0] in ("NA", "<NA>") else _number(more[0], "confidence", place)
        if sure is not None and sure > 1:
            raise SepasrError(f"{place}: found '{more[0]}' as confidence, expected 0 to 1")
        spoken.setdefault((name, speaker), []).append(Word(first, last, word, sure))
    segments = []
    for (name, speaker), words in spoken.items():
        segments += [segment_of(name, speaker, group) for group in _between_pauses(words)]
    return in_time(segments)


def write_rttm(segments: Sequence[Segment]) -> str:
    """`SPEAKER session channel start duration <NA> <NA> speaker <NA> <NA>`: who speaks when, without the words."""
    return _lines(
        f"SPEAKER {_field(segment.session_id)} 1 {seconds(segment.start_time)} "
        f"{duration(segment.start_time, segment.end_time)} <NA> <NA> {_field(segment.speaker)} <NA> <NA>"
        for segment in segments
    )


def read_rttm(text: str, origin: str, session: str) -> list[Segment]:
    """Segments without words; lines of other types than SPEAKER are left out."""
    segments = []
    for place, line in _content(text, origin):
        fields = _fields(line, place, "type, session, channel, start, duration, <NA>, <NA>, speaker", least=8)
        kind, name, _, start, length, _, _, speaker, *_ = fields
        if kind == "SPEAKER":
            first, last = _times(start, length, place)
            segments.append(Segment(session_id=name, speaker=speaker, start_time=first, end_time=last, words=""))
    return segments


def _lines(lines: Iterable[str]) -> str:
    return "".join(line.rstrip() + "\n" for line in lines)


def _field(text: str) -> str:
    """A name as one field of a line."""
    return "_".join(text.split()) or "-"


def _content(text: str, origin: str) -> Iterator[tuple[str, str]]:
    """Each line that holds anything, and where it is."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.startswith(";"):
            yield f"{origin}:{number}", line


def _fields(line: str, place: str, named: str, least: int, most: int = 0) -> list[str]:
    fields = line.strip().split(maxsplit=most - 1)
    if len(fields) < least:
        raise SepasrError(f"{place}: {len(fields)} fields found, expected {named}")
    return fields


def _times(start: str, length: str, place: str) -> tuple[float, float]:
    """Start and end of what begins at `start` and lasts `length`."""
    first = _number(start, "start", place)
    _number(length, "duration", place)
    return first, end_of(start, length)


def _number(text: str, name: str, place: str) -> float:
    if not re.fullmatch(r"\+?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text):
        raise SepasrError(f"{place}: found '{text}' as {name}, expected a number from 0")
    return float(text)


def _between_pauses(words: Sequence[Word]) -> list[list[Word]]:
    """Words in the order of time, parted where a pause lies between them."""
    groups: list[list[Word]] = []
    last = 0.0
    for word in sorted(words, key=lambda word: word.start):
        if not groups or word.start - last > PAUSE:
            groups.append([])
        groups[-1].append(word)
        last = max(last, word.end)
    return groups
