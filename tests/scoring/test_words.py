"""Error rates agree with MeetEval, add up, and do not depend on the order of speakers."""

import random
from itertools import permutations

import meeteval
import pytest

from sepasr_cli.scoring import words
from sepasr_cli.scoring.words import (
    ErrorRate,
    WordScore,
    character_errors,
    score_transcripts,
    score_words,
    word_errors,
)
from sepasr_cli.transcripts import Segment


def spoken(draw: random.Random, speakers: int, length: int = 12) -> list[str]:
    return [" ".join(draw.choices("abcdef", k=draw.randrange(length))) for _ in range(speakers)]


@pytest.mark.parametrize("speakers", [1, 2, 3, 4])
def test_word_errors_are_meetevals_cpwer(speakers: int) -> None:
    draw = random.Random(speakers)
    for _ in range(10):
        references, hypotheses = spoken(draw, speakers), spoken(draw, draw.randrange(1, 5))
        theirs = meeteval.wer.cp_word_error_rate(references, hypotheses)
        ours, _ = score_words(references, hypotheses)
        # Alignments of equal cost may split the errors differently; their number is unique.
        assert (ours.words.errors, ours.words.length) == (theirs.errors, theirs.length)


def test_the_order_of_speakers_does_not_matter() -> None:
    draw = random.Random(0)
    references, hypotheses = spoken(draw, 3), spoken(draw, 3)
    scores = {score_words(references, list(order))[0].words.errors for order in permutations(hypotheses)}
    assert len(scores) == 1


def test_assignment_names_the_hypothesis_of_every_reference() -> None:
    assert score_words(["A B", "C D"], ["C D", "A X"])[1] == (1, 0)
    assert score_words(["A B", "C D"], ["C D"])[1] == (None, 0)
    score, assignment = score_words(["A B"], ["X", "A B"])
    assert assignment == (1,)
    assert score.words == ErrorRate(insertions=1, length=2)


def test_empty_texts_are_counted() -> None:
    assert word_errors("", "a b") == ErrorRate(insertions=2)
    assert word_errors("a b", "") == ErrorRate(deletions=2, length=2)
    assert character_errors("a b", "") == ErrorRate(deletions=3, length=3)
    assert ErrorRate(insertions=2).rate is None
    score, assignment = score_words([], [])
    assert (score, assignment) == (WordScore(recordings=1), ())


def test_scores_add() -> None:
    first, _ = score_words(["a b"], ["a c"])
    second, _ = score_words(["a b c d"], ["a b c"])
    total = sum([first, second])
    assert isinstance(total, WordScore)
    assert (total.words.rate, total.recordings) == (2 / 6, 2)
    assert total == sum([second, first])


def test_the_rule_reaches_both_sides() -> None:
    assert score_words(["Hello, world!"], ["HELLO WORLD"], "basic")[0].words.errors == 0
    assert score_words(["Hello, world!"], ["HELLO WORLD"], "none")[0].words.errors == 2


def meeting(draw: random.Random, speakers: int, segments: int = 8) -> list[Segment]:
    return [
        Segment(
            session_id="a",
            speaker=f"s{draw.randrange(speakers)}",
            start_time=3.0 * number,
            end_time=3.0 * number + 4,
            words=" ".join(draw.choices("abcdef", k=draw.randrange(1, 9))),
        )
        for number in range(segments)
    ]


def seglst(segments: list[Segment]) -> meeteval.io.SegLST:
    return meeteval.io.SegLST([segment.model_dump() for segment in segments])


@pytest.mark.parametrize("collar", [0.5, 5.0])
def test_meeting_metrics_are_meetevals(collar: float) -> None:
    draw = random.Random(collar)
    for _ in range(10):
        reference, hypothesis = meeting(draw, 3), meeting(draw, 2)
        ours, _ = score_transcripts(reference, hypothesis, collar=collar)
        wanted = {
            "cpwer": meeteval.wer.cp_word_error_rate(seglst(reference), seglst(hypothesis)),
            "orcwer": meeteval.wer.orc_word_error_rate(seglst(reference), seglst(hypothesis)),
            "tcpwer": meeteval.wer.time_constrained_minimum_permutation_word_error_rate(
                seglst(reference), seglst(hypothesis), collar=collar
            ),
        }
        for name, theirs in wanted.items():
            found = ours.rates()[name]
            assert found == ErrorRate(theirs.substitutions, theirs.deletions, theirs.insertions, theirs.length), name
        assert ours.words.errors == ours.cpwer.errors
        assert ours.orcwer.errors <= ours.cpwer.errors <= ours.tcpwer.errors


def test_words_at_the_wrong_time_are_wrong_in_tcpwer_alone() -> None:
    said = [Segment(session_id="a", speaker="x", start_time=0, end_time=1, words="a b c")]
    late = [segment.model_copy(update={"start_time": 20.0, "end_time": 21.0}) for segment in said]
    score, _ = score_transcripts(said, late)
    assert score.cpwer.errors == score.orcwer.errors == 0
    assert score.tcpwer == ErrorRate(deletions=3, insertions=3, length=3)
    assert score_transcripts(said, late, collar=30)[0].tcpwer.errors == 0


def test_an_empty_transcript_has_every_word_deleted() -> None:
    said = meeting(random.Random(0), 2)
    score, pairs = score_transcripts(said, [])
    length = sum(len(segment.words.split()) for segment in said)
    assert set(score.rates().values()) - {score.characters} == {ErrorRate(deletions=length, length=length)}
    assert [pair.hypothesis for pair in pairs] == [None, None]
    score, pairs = score_transcripts([], said)
    assert set(score.rates().values()) - {score.characters} == {ErrorRate(insertions=length)}
    assert pairs == ()


def test_texts_without_times_have_no_tcpwer() -> None:
    said = meeting(random.Random(1), 2)
    plain = [segment.model_copy(update={"start_time": 0.0, "end_time": 0.0}) for segment in said]
    score, _ = score_transcripts(plain, said)
    assert score.undefined == ("tcpwer: the reference has no times",)
    assert (score.tcpwer.rate, score.cpwer.length) == (None, score.words.length)


def test_an_orcwer_too_long_to_compute_is_found_greedily(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(2)
    reference, hypothesis = meeting(draw, 3), meeting(draw, 2)
    exact, _ = score_transcripts(reference, hypothesis)
    monkeypatch.setattr(words, "ORC_STATES", 1)
    greedy, _ = score_transcripts(reference, hypothesis)
    assert greedy.orcwer.errors >= exact.orcwer.errors
    assert greedy.undefined == (words.ORC_GREEDY,)


def test_pairs_hold_the_texts_as_they_were() -> None:
    said = [
        Segment(session_id="a", speaker="ann", start_time=2, end_time=3, words="World!"),
        Segment(session_id="a", speaker="ann", start_time=0, end_time=1, words="Hello,"),
    ]
    heard = [Segment(session_id="a", speaker="spk7", start_time=0, end_time=3, words="hello word")]
    score, (pair,) = score_transcripts(said, heard, "basic")
    assert (pair.speaker, pair.reference, pair.hypothesis, pair.label) == ("ann", "Hello, World!", "hello word", "spk7")
    assert score.words == ErrorRate(substitutions=1, length=2)
