"""Who speaks first is named first."""

from sepasr_cli.transcripts import Segment
from sepasr_cli.transcripts.speakers import name_speakers


def said(speaker: str, start: float, words: str = "A", first: float | None = None) -> Segment:
    times = None if first is None else ((first, start + 1),)
    return Segment(session_id="m", speaker=speaker, start_time=start, end_time=start + 1, words=words, word_times=times)


def test_numbers_follow_the_first_words() -> None:
    """Not the first segments, which may be without words; equal starts keep their order."""
    segments = [said("x", 0, words=""), said("x", 3), said("y", 2), said("z", 2), said("y", 5)]
    assert [one.speaker for one in name_speakers(segments)] == ["spk3", "spk3", "spk1", "spk2", "spk1"]


def test_word_times_tell_more_than_segments() -> None:
    segments = [said("x", 0, first=0.8), said("y", 0, first=0.2)]
    assert [one.speaker for one in name_speakers(segments)] == ["spk2", "spk1"]


def test_names_are_given_in_that_order_then_numbers() -> None:
    segments = [said("x", 2), said("y", 1), said("z", 3), said("silent", 0, words="")]
    assert [one.speaker for one in name_speakers(segments, ("Anna", "Ben"))] == ["Ben", "Anna", "spk3", "spk4"]
    assert [one.speaker for one in name_speakers(segments[:1], ("Anna", "Ben"))] == ["Anna"]
    assert name_speakers([]) == []
