"""Intervals cover what they should, are seeded, and pairs are compared as pairs."""

import numpy as np
import pytest

from sepasr_cli.scoring.bootstrap import differences, intervals
from sepasr_cli.scoring.signals import Mean


def recordings(values: np.ndarray, name: str = "si_sdr") -> list[dict[str, Mean]]:
    return [{name: Mean(float(value), 1)} for value in values]


def test_an_interval_is_that_of_a_normal_mean() -> None:
    values = np.random.default_rng(0).standard_normal(400)
    low, high = intervals(recordings(values))["si_sdr"]
    wide = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - wide, abs=0.01)
    assert high == pytest.approx(values.mean() + wide, abs=0.01)


def test_about_95_of_100_intervals_hold_the_truth() -> None:
    draw = np.random.default_rng(1)
    found = [intervals(recordings(3 + draw.standard_normal(40)), seed)["si_sdr"] for seed in range(100)]
    assert 88 <= sum(low <= 3 <= high for low, high in found) <= 99


def test_a_rate_is_errors_over_words() -> None:
    """A long recording without errors counts by its words, not as one of two."""
    parts = [{"wer": Mean(10, 10)}, {"wer": Mean(0, 990)}]
    low, high = intervals(parts)["wer"]
    assert (low, high) == (0.0, 1.0)
    (difference,) = differences(parts, parts)
    assert difference.first == pytest.approx(0.01)


def test_the_same_seed_gives_the_same_interval() -> None:
    parts = recordings(np.arange(30.0))
    assert intervals(parts) == intervals(parts)
    assert intervals(parts, seed=1) != intervals(parts)


def test_one_recording_has_no_interval() -> None:
    assert intervals(recordings(np.array([1.0]))) == {}
    assert intervals([]) == {}
    assert intervals([{"sdr": Mean(1, 1)}, {"sdr": Mean()}]) == {}


def test_a_small_gain_on_every_recording_is_real() -> None:
    """Far smaller than the spread of the recordings: only pairs can show it."""
    draw = np.random.default_rng(2)
    before = 10 * draw.standard_normal(50)
    (one,) = differences(recordings(before), recordings(before + 0.3 + 0.1 * draw.standard_normal(50)))
    assert one.real and one.low < 0.3 < one.high and one.p_value < 0.01
    assert (one.metric, one.recordings) == ("si_sdr", 50)
    assert one.second - one.first == pytest.approx(one.difference)


def test_chance_is_not_real() -> None:
    draw = np.random.default_rng(3)
    real = []
    for _ in range(60):
        before = draw.standard_normal(40)
        (one,) = differences(recordings(before), recordings(before + draw.standard_normal(40)))
        real.append(one.real)
        assert one.real == (one.p_value < 0.05) or abs(one.p_value - 0.05) < 0.01
    assert sum(real) <= 9


def test_equal_systems_differ_by_nothing() -> None:
    parts = recordings(np.random.default_rng(4).standard_normal(20))
    (one,) = differences(parts, parts)
    assert (one.difference, one.low, one.high, one.p_value, one.real) == (0, 0, 0, 1, False)


def test_only_recordings_with_both_values_are_compared() -> None:
    first = [{"pesq": Mean(2, 1)}, {"pesq": Mean(3, 1)}, {"pesq": Mean()}, {"pesq": Mean(100, 1)}]
    second = [{"pesq": Mean(3, 1)}, {"pesq": Mean(4, 1)}, {"pesq": Mean(9, 1)}, {}]
    (one,) = differences(first, second)
    assert (one.first, one.second, one.recordings) == (2.5, 3.5, 2)
