"""What speakers are called."""

from collections.abc import Sequence

from sepasr_cli.errors import ArgumentError
from sepasr_cli.transcripts.segment import Segment


def parse_names(text: str | Sequence[str] | None) -> tuple[str, ...]:
    """The names of `--speaker-names`: parted by commas, or a list of them.

    >>> parse_names("Anna, Ben")
    ('Anna', 'Ben')

    Raises:
        ArgumentError: where one is empty or stands twice.
    """
    if text is None:
        return ()
    names = tuple(name.strip() for name in (text.split(",") if isinstance(text, str) else text))
    if not all(names) or len(set(names)) < len(names):
        raise ArgumentError(f"--speaker-names '{','.join(names)}': expected different names, such as Anna,Ben")
    return names


def name_speakers(segments: Sequence[Segment], names: Sequence[str] = ()) -> list[Segment]:
    """The segments of one recording, whose speakers get these names, then spk3, ..., in the order of their first words.

    >>> late = Segment(session_id="a", speaker="spk1", start_time=1, end_time=2, words="B")
    >>> early = Segment(session_id="a", speaker="spk2", start_time=0, end_time=2, words="A")
    >>> [segment.speaker for segment in name_speakers([late, early])]
    ['spk2', 'spk1']
    """
    first: dict[str, float] = {}
    for segment in segments:
        begins = _first_word(segment)
        first[segment.speaker] = min(begins, first.get(segment.speaker, begins))
    called = dict(zip(sorted(first, key=first.__getitem__), _names(names, len(first)), strict=True))
    return [segment.model_copy(update={"speaker": called[segment.speaker]}) for segment in segments]


def _first_word(segment: Segment) -> float:
    """When it is spoken; never where there is none."""
    if not segment.text:
        return float("inf")
    return segment.word_times[0][0] if segment.word_times else segment.start_time


def _names(names: Sequence[str], count: int) -> list[str]:
    return [*names, *(f"spk{number}" for number in range(len(names) + 1, count + 1))][:count]
