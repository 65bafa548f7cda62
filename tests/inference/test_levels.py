"""Separated signals get levels that explain the mixture, and none is blown up."""

import numpy as np

from sepasr_cli.inference.levels import explain


def test_levels_of_degenerate_signals_stay_finite() -> None:
    draw = np.random.default_rng(0)
    mixture = draw.standard_normal(1000).astype(np.float32)
    assert not explain(np.zeros((2, 1000), np.float32), mixture).any()
    same = explain(np.stack([mixture, mixture]), mixture)
    assert np.allclose(same.sum(0), mixture, atol=1e-2)
    faint = explain(np.stack([0.5 * mixture, 1e-7 * draw.standard_normal(1000)]).astype(np.float32), mixture)
    assert np.abs(faint[1]).max() < 1e-5
    assert np.allclose(faint[0], mixture, rtol=2e-3)
