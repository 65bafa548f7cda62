"""Error rates agree with MeetEval, add up, and do not depend on the order of speakers."""

import random
from itertools import permutations

import meeteval
import pytest

from sepasr_cli.errors import SepasrError
from sepasr_cli.scoring.words import ErrorRate, WordScore, character_errors, normalise, score_words, word_errors


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
    assert normalise("don\u2019t 'quote' \ufb01ne e\u0301", "basic") == "don't quote fine \u00e9"
    with pytest.raises(SepasrError, match="'loud' is unknown; expected one of none, basic"):
        normalise("a", "loud")  # type: ignore[arg-type]
