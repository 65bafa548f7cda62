"""How sure a mean over recordings is: bootstrap over recordings, seeded. Letters: R recording, C metric, D draw.

Recordings are drawn with replacement, as many as there are, and every metric is computed of each draw; an interval
holds the middle 95 % (Efron and Tibshirani, 1993, section 13.3; for word error rates Bisani and Ney, 2004). A metric of
a corpus is a ratio of sums, such as errors over words, so that is what is computed of each draw.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sepasr_cli.randomness import generator
from sepasr_cli.scoring.signals import Mean

DRAWS = 5000
#: Percent of the draws within an interval.
COVERAGE = 95
#: Weights drawn at once, to bound memory.
CHUNK = 4_000_000


@dataclass(frozen=True)
class Difference:
    """What the second of two systems has more than the first in one metric, over the same recordings.

    `low` and `high` bound 95 % of the draws; `p_value` is twice the share of draws on the other side of zero.
    """

    metric: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float
    recordings: int

    @property
    def real(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def intervals(parts: Sequence[Mapping[str, Mean]], seed: int = 0) -> dict[str, tuple[float, float]]:
    """The 95 % interval of each metric that two recordings or more have.

    Args:
        parts: of each recording the totals and counts of its metrics.
        seed: of the draws.
    """
    names = sorted({name for part in parts for name in part})
    totals, counts = _arrays(parts, names)
    known = (counts > 0).sum(0) > 1
    if not known.any():
        return {}
    names = [name for name, kept in zip(names, known, strict=True) if kept]
    draws = np.concatenate(list(_drawn(totals[:, known], counts[:, known], seed=seed)))
    return {name: _bounds(column) for name, column in zip(names, draws.T, strict=True)}


def differences(
    first: Sequence[Mapping[str, Mean]], second: Sequence[Mapping[str, Mean]], seed: int = 0
) -> list[Difference]:
    """Paired bootstrap of two systems: the same recordings in every draw.

    Args:
        first: totals and counts of each recording under one system.
        second: the same recordings, in the same order, under the other.
        seed: of the draws.

    Returns:
        One difference for each metric that two recordings or more have under both systems.
    """
    names = list(dict.fromkeys(name for part in first for name in part))
    sides = [_arrays(parts, names) for parts in (first, second)]
    both = (sides[0][1] > 0) & (sides[1][1] > 0)
    names = [name for name, recordings in zip(names, both.sum(0), strict=True) if recordings > 1]
    if not names:
        return []
    known = both.sum(0) > 1
    both = both[:, known]
    (totals, counts), (other_totals, other_counts) = [(a[:, known] * both, b[:, known] * both) for a, b in sides]
    before, after = totals.sum(0) / counts.sum(0), other_totals.sum(0) / other_counts.sum(0)
    stacked = np.concatenate([totals, other_totals], 1), np.concatenate([counts, other_counts], 1)
    draws = np.concatenate(list(_drawn(*stacked, seed=seed)))
    gains = draws[:, len(names) :] - draws[:, : len(names)]
    # Rounding must not make a difference of what is equal.
    gains[np.abs(gains) < 1e-9 * (np.abs(before) + np.abs(after))] = 0.0
    found = []
    for column, name in enumerate(names):
        gain = gains[:, column]
        low, high = _bounds(gain)
        share = (1 + min((gain <= 0).sum(), (gain >= 0).sum())) / (1 + len(gain))
        first_value, second_value = float(before[column]), float(after[column])
        size, p_value = int(both[:, column].sum()), min(1.0, 2 * float(share))
        gained = second_value - first_value
        found.append(Difference(name, first_value, second_value, gained, low, high, p_value, size))
    return found


def _arrays(parts: Sequence[Mapping[str, Mean]], names: Sequence[str]) -> tuple[NDArray, NDArray]:
    """Totals and counts, shapes (R, C)."""
    means = [[part.get(name, Mean()) for name in names] for part in parts]
    totals = np.array([[mean.total for mean in row] for row in means]).reshape(len(parts), len(names))
    counts = np.array([[mean.count for mean in row] for row in means]).reshape(len(parts), len(names))
    return totals, counts


def _drawn(totals: NDArray, counts: NDArray, seed: int) -> Iterator[NDArray]:
    """Every metric of every draw, in pieces of shape (D, C); NaN where a draw has no value."""
    size = len(totals)
    draw = generator(seed, "bootstrap", size)
    left = DRAWS
    while left > 0:
        weights = draw.multinomial(size, np.full(size, 1 / size), size=min(left, max(1, CHUNK // size)))
        left -= len(weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            yield (weights.astype(np.float64) @ totals) / (weights.astype(np.float64) @ counts)


def _bounds(values: NDArray) -> tuple[float, float]:
    outside = (100 - COVERAGE) / 2
    low, high = np.nanpercentile(values, [outside, 100 - outside])
    return float(low), float(high)
