"""Signal scores agree with mir_eval and the formulas, and stay finite on degenerate signals."""

from itertools import permutations

import numpy as np
import pytest
from pystoi import stoi as pystoi

from sepasr_cli.errors import SepasrError
from sepasr_cli.scoring.bss_eval import LIMIT
from sepasr_cli.scoring.signals import TOO_SHORT, Mean, SignalScore, pesq, score_signals

RATE = 16000


def talkers(speakers: int = 2, samples: int = RATE, seed: int = 0) -> np.ndarray:
    """Noise with the slow ups and downs of speech."""
    draw = np.random.default_rng(seed)
    level = np.repeat(draw.random((speakers, samples // 800)), 800, axis=1)
    return 0.1 * level * draw.standard_normal((speakers, level.shape[1]))


def estimates_of(references: np.ndarray, noise: float = 0.02) -> np.ndarray:
    draw = np.random.default_rng(9)
    mixed = references + 0.2 * references[::-1]
    return 0.5 * mixed + noise * draw.standard_normal(references.shape)


def test_every_order_of_estimates_scores_the_same() -> None:
    references = talkers(3)
    estimates = estimates_of(references)
    mixture = references.sum(0)
    base, order = score_signals(references, estimates, mixture, RATE)
    assert order == (0, 1, 2)
    for shuffled in permutations(range(3)):
        scores, found = score_signals(references, estimates[list(shuffled)], mixture, RATE)
        assert scores == base
        assert [shuffled[index] for index in found] == [0, 1, 2]


def test_improvement_is_over_the_mixture() -> None:
    references = talkers()
    mixture = references.sum(0)
    scores, _ = score_signals(references, np.stack([mixture, mixture]), mixture, RATE)
    total = sum(scores, SignalScore())
    assert total.si_sdr_improvement == Mean(0.0, 2)
    for gain in (total.sdr_improvement, total.sir_improvement, total.stoi_improvement):
        assert (gain.total, gain.count) == (pytest.approx(0, abs=1e-9), 2)
    assert total.si_sdr_mixture == total.si_sdr


def test_scores_add_to_means_with_counts() -> None:
    references = talkers()
    scores, _ = score_signals(references, estimates_of(references), references.sum(0), RATE)
    total = sum(scores)
    assert isinstance(total, SignalScore)
    for name, mean in total.means().items():
        values = [score.means()[name].value for score in scores]
        assert mean.count == 2
        assert mean.value == pytest.approx(np.mean(values))
    pairs = list(zip(references, estimates_of(references), strict=True))
    for extended, mean in ((False, total.stoi), (True, total.estoi)):
        assert mean.value == pytest.approx(np.mean([pystoi(r, e, RATE, extended=extended) for r, e in pairs]), abs=1e-9)
    assert total.pesq.count == 2


def test_silent_and_perfect_estimates_stay_finite() -> None:
    references = talkers()
    scores, order = score_signals(references, np.stack([references[1], np.zeros(RATE)]), references.sum(0), RATE)
    assert order == (1, 0)
    assert scores[0].si_sdr.value == scores[0].sdr.value == -LIMIT
    assert scores[1].si_sdr.value == LIMIT
    assert scores[0].undefined == ("pesq: the estimate is silent",)


def test_a_silent_reference_is_left_out_and_says_why() -> None:
    references = np.stack([talkers(1)[0], np.zeros(RATE)])
    scores, order = score_signals(references, references[::-1] + 1e-3, references.sum(0), RATE)
    assert order == (1, 0)
    assert scores[1].undefined == ("the reference is silent",)
    assert sum(scores, SignalScore()).si_sdr.count == 1


def test_more_estimates_than_references_choose_the_best() -> None:
    references = talkers(3)
    scores, order = score_signals(references[:1], references[[2, 0]], references.sum(0), RATE)
    assert order == (1,)
    assert scores[0].si_sdr.value == LIMIT


def test_metrics_say_why_they_are_undefined() -> None:
    short = talkers(1, 1600)[0]
    for samples in (99, 1600):
        (score,), _ = score_signals(short[:samples], short[:samples], None, RATE, ("stoi", "estoi", "sir"))
        assert score.undefined == ("sir: one speaker", f"stoi: {TOO_SHORT}", f"estoi: {TOO_SHORT}")
    assert pesq(short, short, 44100) == (None, "pesq: defined for 16000 and 8000 Hz, not for 44100 Hz")
    value, reason = pesq(short, short, RATE)
    assert value is None
    assert reason.startswith("pesq: ")


@pytest.mark.parametrize("rate", [8000, 16000])
def test_pesq_of_a_perfect_estimate_is_its_highest(rate: int) -> None:
    draw = np.random.default_rng(0)
    speech = np.repeat(draw.random(80), rate // 40) * draw.standard_normal(2 * rate)
    value, reason = pesq(0.1 * speech, 0.1 * speech, rate)
    assert reason == ""
    assert value is not None
    assert value > 4.4


def test_only_what_is_asked_for_is_computed() -> None:
    references = talkers()
    scores, _ = score_signals(references, estimates_of(references), references.sum(0), RATE, ("sdr", "stoi"))
    found = {name for name, mean in scores[0].means().items() if mean.count}
    assert found == {f"{name}{rest}" for name in ("sdr", "stoi") for rest in ("", "_mixture", "_improvement")}
    everything, _ = score_signals(references, estimates_of(references), references.sum(0), RATE)
    assert scores[0].sdr.value == pytest.approx(everything[0].sdr.value, abs=1e-9)
    assert scores[0].stoi == everything[0].stoi


def test_without_a_mixture_there_is_no_improvement() -> None:
    references = talkers()
    scores, _ = score_signals(references, estimates_of(references), None, RATE, ("si_sdr", "sar", "stoi"))
    assert {name for name, mean in scores[0].means().items() if mean.count} == {"si_sdr", "sar", "stoi"}


def test_sizes_that_do_not_fit_are_errors() -> None:
    references = talkers()
    with pytest.raises(SepasrError, match="1 estimates for 2 references"):
        score_signals(references, references[:1], references.sum(0), RATE)
    with pytest.raises(SepasrError, match="references of 16000, estimates of 15000 and a mixture of 16000"):
        score_signals(references, references[:, :15000], references.sum(0), RATE)
