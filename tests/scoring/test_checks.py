"""Transcripts that cannot be meant are refused with the numbers."""

import pytest

from sepasr_cli.errors import SepasrError
from sepasr_cli.scoring.checks import check_transcripts
from sepasr_cli.scoring.recordings import SpokenTexts
from sepasr_cli.transcripts import Segment


def texts(*segments: tuple[str, str, float]) -> tuple[Segment, ...]:
    return tuple(
        Segment(session_id="a", speaker=speaker, start_time=0, end_time=end, words=words)
        for speaker, words, end in segments
    )


ENGLISH = texts(("ann", "good morning to all of you", 2), ("bob", "it rains", 3))


def test_ninety_speakers_are_refused() -> None:
    many = texts(*((f"s{number}", "hi", 1.0) for number in range(90)))
    with pytest.raises(
        SepasrError, match=r"hypothesis of 'a' has 90 speakers \(s0, s1, s10, \.\.\.\), expected at most 20"
    ):
        check_transcripts([SpokenTexts("a", ENGLISH, many)])
    with pytest.raises(SepasrError, match="reference of 'a' has 90 speakers"):
        check_transcripts([SpokenTexts("a", many, ENGLISH)])


def test_another_alphabet_is_refused() -> None:
    russian = texts(("1", "доброе утро всем вам", 2), ("2", "идёт дождь", 2))
    with pytest.raises(SepasrError, match="another alphabet: cyrillic 100%, the reference is latin 100%"):
        check_transcripts([SpokenTexts("a", ENGLISH, russian)])


def test_a_foreign_word_or_a_short_text_is_no_other_alphabet() -> None:
    assert check_transcripts([SpokenTexts("a", ENGLISH, texts(("1", "good morning привет", 2)))]) == []
    assert check_transcripts([SpokenTexts("a", ENGLISH, texts(("1", "привет", 2)))]) == []
    assert check_transcripts([SpokenTexts("a", ENGLISH, ())]) == []


def test_times_in_samples_are_refused() -> None:
    with pytest.raises(SepasrError, match=r"hypothesis of 'a' ends at 480000 s, more than a day; are its times in sec"):
        check_transcripts([SpokenTexts("a", ENGLISH, texts(("1", "good", 480000)))])


def test_far_too_many_words_are_told() -> None:
    long = texts(("1", "the " * 60, 5))
    assert check_transcripts([SpokenTexts("a", ENGLISH, long)]) == [
        "the hypothesis has 60 words, the reference 8; is this the right pair?"
    ]
