"""For spreadsheets and for reading: TSV with a header, and plain text of a line a speaker."""

import re
from collections.abc import Sequence

from sepasr_cli.errors import SepasrError
from sepasr_cli.settings import validate
from sepasr_cli.transcripts.segment import Segment, by_speaker, seconds

COLUMNS = ("session_id", "speaker", "start_time", "end_time", "words")

_LINE = re.compile(r"(\S.*?)  ([^:]+):(?: (.*))?")


def write_tsv(segments: Sequence[Segment]) -> str:
    """A line a segment, fields parted by tabs, times in seconds."""
    rows = [
        (
            _cell(segment.session_id),
            _cell(segment.speaker),
            seconds(segment.start_time),
            seconds(segment.end_time),
            segment.text,
        )
        for segment in segments
    ]
    return "".join("\t".join(row) + "\n" for row in (COLUMNS, *rows))


def read_tsv(text: str, origin: str, session: str) -> list[Segment]:
    """Lines as segments; the header names the columns, in any order, those that are not ours are left out."""
    header, *lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    names = [name.strip() for name in header.split("\t")]
    if missing := [column for column in COLUMNS if column not in names]:
        raise SepasrError(f"{origin}: no column '{missing[0]}' in the first line; expected {', '.join(COLUMNS)}")
    segments = []
    for number, line in enumerate(lines, 2):
        cells = line.split("\t")
        if len(cells) != len(names):
            raise SepasrError(f"{origin}:{number}: {len(cells)} columns found, expected {len(names)} as in the header")
        values = {name: cell for name, cell in zip(names, cells, strict=True) if name in COLUMNS}
        segments.append(validate(Segment, values, f"{origin}:{number}"))
    return segments


def write_text(segments: Sequence[Segment]) -> str:
    """`session  speaker: words`, all words of a speaker on one line."""
    return "".join(
        f"{_cell(session)}  {_cell(speaker.replace(':', '_'))}: {words}".rstrip() + "\n"
        for session, speakers in by_speaker(segments).items()
        for speaker, words in speakers.items()
    )


def read_text(text: str, origin: str, session: str) -> list[Segment]:
    """A segment a line, good for its words alone: plain text has no times, all of them are 0."""
    segments = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        if (match := _LINE.fullmatch(line.rstrip())) is None:
            raise SepasrError(f"{origin}:{number}: expected 'recording  speaker: words', with two blanks between names")
        name, speaker, words = match.groups(default="")
        segments.append(Segment(session_id=name, speaker=speaker, start_time=0.0, end_time=0.0, words=words))
    return segments


def _cell(text: str) -> str:
    return " ".join(text.split())
