"""Levels and the Wiener filter against what least squares says, and on mixtures whose answer is known."""

import numpy as np
import torch
from torch import Tensor

from sepasr_cli.separation.losses import si_sdr
from sepasr_cli.separation.stft import Stft
from sepasr_cli.separation.wiener import explain, wiener


def spectra(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.complex64)


def test_levels_and_signs_are_those_that_explain_the_mixture() -> None:
    speakers = spectra(3, 2, 20, 9)
    gains = torch.tensor([[2.0, 0.5], [-0.3, 4.0], [1.0, -1.0]])
    mixture = speakers.sum(1)
    torch.testing.assert_close(explain(speakers / gains[..., None, None], mixture), speakers, rtol=1e-4, atol=1e-4)
    assert explain(speakers[:1], torch.zeros_like(mixture[:1])).abs().max() == 0
    assert explain(torch.zeros(1, 2, 20, 9, dtype=torch.complex64), mixture[:1]).abs().max() == 0


def test_the_filter_is_that_of_least_squares() -> None:
    """Of one frequency, by NumPy: three frames of two microphones on the estimate."""
    estimate, mixture = spectra(1, 1, 50, 1), spectra(1, 2, 50, 1)
    heard = mixture[0, :, :, 0].numpy()
    taps = np.concatenate([np.pad(heard, ((0, 0), (delay, 0)))[:, :50] for delay in range(3)])
    wanted = taps.T @ np.linalg.lstsq(taps.T, estimate[0, 0, :, 0].numpy(), rcond=None)[0]
    found = wiener(estimate, mixture)[0, 0, :, 0].numpy()
    np.testing.assert_allclose(found, wanted, atol=2e-3 * np.abs(wanted).max())


def test_the_filter_undoes_what_a_filter_cannot_do() -> None:
    """Two plane waves and two microphones: holes torn into the estimates, and the other speaker in them, go away."""
    stft = Stft(512, 256)
    speakers = torch.randn(1, 2, 16000) * torch.randn(1, 2, 40).exp().repeat_interleave(400, -1)
    mixture = torch.stack([speakers.sum(1), speakers[:, 0].roll(2, -1) + speakers[:, 1].roll(-2, -1)], dim=1)
    rough = stft.analyse(speakers + 0.3 * speakers.flip(1))
    rough = rough * (torch.rand(rough.shape) > 0.3)
    before, after = (si_sdr(stft.synthesise(x, 16000), speakers) for x in (rough, wiener(rough, stft.analyse(mixture))))
    assert (after > before + 2).all(), (before, after)


def test_silence_stays_silence_and_dead_microphones_change_nothing() -> None:
    estimates, mixture = spectra(2, 2, 30, 5), spectra(2, 3, 30, 5)
    assert wiener(estimates, torch.zeros_like(mixture)).abs().max() == 0
    dead = torch.cat([mixture, torch.zeros_like(mixture[:, :1])], dim=1)
    torch.testing.assert_close(wiener(estimates, dead), wiener(estimates, mixture), rtol=1e-2, atol=1e-2)
