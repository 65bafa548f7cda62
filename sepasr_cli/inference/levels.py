"""Levels of separated signals, which separators leave open. Letters: S speaker, N sample."""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import nnls

from sepasr_cli.audio import Audio


def explain(streams: NDArray[np.float32], mixture: NDArray[np.float32]) -> Audio:
    """Scale signals (S, N), whose levels and signs mean nothing, so that their sum explains the mixture (N,).

    The gains are those of least squares, found together and none below a tenth of the gain common to all. A small
    pull towards that common gain keeps signals far below the others from being blown up to explain what is left.
    """
    signals, target = streams.astype(np.float64), mixture.astype(np.float64)
    signals *= np.where(signals @ target < 0, -1.0, 1.0)[:, None]
    energy, match = signals @ signals.T, signals @ target
    whole = float(energy.sum())
    common = float(match.sum()) / whole if whole > 0 else 0.0
    if not (np.isfinite(common) and common > 0):
        return streams
    floor, pull = 0.1 * common, 1e-5 * float(np.trace(energy)) / len(signals)
    lower = cholesky(energy + pull * np.eye(len(signals)), lower=True)
    wanted = match + pull * common - (energy.sum(1) + pull) * floor
    above, _ = nnls(lower.T, solve_triangular(lower, wanted, lower=True))
    return np.asarray((above + floor)[:, None] * signals, np.float32)
