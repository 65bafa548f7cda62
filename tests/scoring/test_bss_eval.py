"""Ratios are those of mir_eval, torchmetrics and the formulas."""

import mir_eval
import numpy as np
import pytest
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio, signal_distortion_ratio

from sepasr_cli.scoring.bss_eval import LIMIT, bss_eval, si_sdr
from sepasr_cli.separation import losses


def signals(speakers: int, samples: int = 6000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """References with little at high frequencies, as speech has, and estimates with filters, leakage and noise."""
    draw = np.random.default_rng(seed)
    references = np.stack([np.convolve(draw.standard_normal(samples), np.hanning(9), "same") for _ in range(speakers)])
    leaked = references + 0.2 * np.roll(references, 1, axis=0)
    filtered = np.stack([np.convolve(one, draw.standard_normal(30) * 0.8 ** np.arange(30))[:samples] for one in leaked])
    return references, filtered + 0.1 * draw.standard_normal(filtered.shape)


@pytest.mark.parametrize("speakers", [1, 2, 3])
def test_bss_eval_is_mir_evals(speakers: int) -> None:
    references, estimates = signals(speakers)
    theirs = mir_eval.separation.bss_eval_sources(references, estimates, compute_permutation=False)
    for name, ours, wanted in zip(("sdr", "sir", "sar"), bss_eval(references, estimates), theirs[:3], strict=True):
        if not (name == "sir" and speakers == 1):
            assert np.allclose(np.diag(ours), wanted, atol=1e-6), name


def test_every_pair_is_computed_at_once() -> None:
    references, estimates = signals(2)
    swapped = mir_eval.separation.bss_eval_sources(references, estimates[::-1], compute_permutation=False)
    for ours, wanted in zip(bss_eval(references, estimates), swapped[:3], strict=True):
        assert np.allclose([ours[0, 1], ours[1, 0]], wanted, atol=1e-6)


def test_sdr_alone_is_the_same() -> None:
    references, estimates = signals(3)
    alone, together = bss_eval(references, estimates, interference=False), bss_eval(references, estimates)
    assert np.allclose(alone.sdr, together.sdr, atol=1e-9)


def test_torchmetrics_agrees() -> None:
    references, estimates = signals(2)
    preds, target = torch.from_numpy(estimates), torch.from_numpy(references)
    theirs = scale_invariant_signal_distortion_ratio(preds, target).numpy()
    assert np.allclose(np.diag(si_sdr(references, estimates)), theirs, atol=1e-6)
    # One at a time: batches of solve hang on some processors.
    theirs = [signal_distortion_ratio(p, t).item() for p, t in zip(preds, target, strict=True)]
    assert np.allclose(np.diag(bss_eval(references, estimates).sdr), theirs, atol=1e-4)


def test_si_sdr_is_its_formula() -> None:
    references, estimates = signals(2)
    for row, reference in enumerate(references):
        for column, estimate in enumerate(estimates):
            target = reference * (estimate @ reference) / (reference @ reference)
            wanted = 10 * np.log10((target @ target) / ((estimate - target) @ (estimate - target)))
            assert si_sdr(references, estimates)[row, column] == pytest.approx(wanted, abs=1e-6)
    centred = [x - x.mean(1, keepdims=True) for x in (references, estimates)]  # as the loss has them
    as_in_training = losses.si_sdr(torch.from_numpy(estimates), torch.from_numpy(references))
    assert np.allclose(np.diag(si_sdr(*centred)), as_in_training.numpy(), atol=1e-4)
    assert np.allclose(si_sdr(references, -3 * estimates), si_sdr(references, estimates))


def test_degenerate_signals_stay_within_the_limits() -> None:
    """A reference without high frequencies at all, two references that are one, a silent and a perfect estimate."""
    tone = np.sin(0.1 * np.arange(4000))
    references = np.stack([tone, 2 * tone, np.random.default_rng(0).standard_normal(4000)])
    estimates = np.stack([tone, np.zeros(4000), references[2]])
    for ratios in bss_eval(references, estimates):
        assert np.isfinite(ratios).all() and np.abs(ratios).max() <= LIMIT
    assert (bss_eval(references, estimates).sdr[:, 1] == -LIMIT).all()
    assert bss_eval(references, estimates).sdr[2, 2] > 60
