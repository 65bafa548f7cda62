"""A segment of a transcript: one speaker's words between two times."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from pydantic import model_validator
from typing_extensions import Self

from sepasr_cli.settings import Settings


class Segment(Settings):
    """One speaker's words between two times, in seconds from the recording's start.

    Where they are known, `word_times` holds (start, end) of each word, and `word_confidences` how sure the recogniser
    is of each, from 0 to 1. `join_confidence`, 0 to 1, says how sure it is, in a recording separated in windows, that
    the speakers are those of the window before.
    """

    session_id: str
    speaker: str
    start_time: float
    end_time: float
    words: str
    word_times: tuple[tuple[float, float], ...] | None = None
    word_confidences: tuple[float, ...] | None = None
    join_confidence: float | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.end_time < self.start_time:
            raise ValueError(f"end_time is {self.end_time}, before start_time {self.start_time}")
        count = len(self.words.split())
        for name, values in (("times", self.word_times), ("confidences", self.word_confidences)):
            if values is not None and len(values) != count:
                raise ValueError(f"{len(values)} word {name} for {count} words")
        if backwards := [(start, end) for start, end in self.word_times or () if end < start]:
            raise ValueError(f"a word ends at {backwards[0][1]}, before it starts at {backwards[0][0]}")
        if wrong := [value for value in self.word_confidences or () if not 0 <= value <= 1]:
            raise ValueError(f"a word's confidence is {wrong[0]}; expected 0 to 1")
        return self

    @property
    def text(self) -> str:
        """The words, parted by single blanks, on one line."""
        return " ".join(self.words.split())


class Word(NamedTuple):
    """A word with its times in seconds; `confidence` is None where it is not known."""

    start: float
    end: float
    text: str
    confidence: float | None = None


def words_of(segment: Segment) -> list[Word]:
    """Each word with its times; words whose times are unknown share their segment evenly, to the millisecond.

    >>> words_of(Segment(session_id="a", speaker="x", start_time=0, end_time=1, words="A B"))
    [Word(start=0.0, end=0.5, text='A', confidence=None), Word(start=0.5, end=1.0, text='B', confidence=None)]
    """
    words = segment.words.split()
    edges = np.linspace(segment.start_time, segment.end_time, len(words) + 1).round(3).tolist()
    times = segment.word_times if segment.word_times is not None else tuple(pairwise(edges))
    confidences = segment.word_confidences or (None,) * len(words)
    return [
        Word(start, end, word, confidence)
        for word, (start, end), confidence in zip(words, times, confidences, strict=True)
    ]


def segment_of(session: str, speaker: str, words: Sequence[Word], start: float | None = None) -> Segment:
    """The segment that timed words make, from the first one's start (or `start`) to the last end."""
    confidences = tuple(word.confidence for word in words if word.confidence is not None)
    return Segment(
        session_id=session,
        speaker=speaker,
        start_time=words[0].start if start is None else start,
        end_time=max(word.end for word in words),
        words=" ".join(word.text for word in words),
        word_times=tuple((word.start, word.end) for word in words),
        word_confidences=confidences if len(confidences) == len(words) else None,
    )


def in_time(segments: Iterable[Segment]) -> list[Segment]:
    """The segments in the order of their starts; those that start together stay as they are."""
    return sorted(segments, key=lambda segment: segment.start_time)


def by_speaker(segments: Iterable[Segment]) -> dict[str, dict[str, str]]:
    """All words of each speaker of each session, in the order of time.

    >>> late = Segment(session_id="a", speaker="x", start_time=1, end_time=2, words="B")
    >>> by_speaker([late, late.model_copy(update={"start_time": 0.0, "words": "A"})])
    {'a': {'x': 'A B'}}
    """
    found: dict[str, dict[str, list[str]]] = {}
    for segment in in_time(segments):
        found.setdefault(segment.session_id, {}).setdefault(segment.speaker, []).extend(segment.words.split())
    return {
        session: {speaker: " ".join(words) for speaker, words in speakers.items()}
        for session, speakers in found.items()
    }


def seconds(time: float) -> str:
    """A time without exponent or loss, with at least three decimals.

    >>> seconds(1e-05), seconds(2)
    ('0.00001', '2.000')
    """
    return np.format_float_positional(time, min_digits=3)


def duration(start: float, end: float) -> str:
    """What added to `start`, in decimals, is `end` without loss.

    >>> duration(1.1, 3.3), 3.3 - 1.1
    ('2.200', 2.1999999999999997)
    """
    exact = Decimal(repr(float(end))) - Decimal(repr(float(start)))
    return f"{exact:f}" if -int(exact.as_tuple().exponent) >= 3 else f"{exact:.3f}"


def end_of(start: str, length: str) -> float:
    """The time that lies `length` after `start`, both as they stand in a file.

    >>> end_of("1.1", "2.2")
    3.3
    """
    return float(Decimal(start) + Decimal(length))
