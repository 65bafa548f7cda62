"""What linear filters of a mixture make of estimates: their levels, and the multi-frame Wiener filter.

Z.-Q. Wang et al., "TF-GridNet: Integrating Full- and Sub-Band Modeling for Speech Separation" (arXiv 2211.12433), whose
multi-frame multi-channel Wiener filter follows a network as it does here.

Axes: B batch, S speaker, M microphone, T frame, F frequency, K tap: a microphone at a delay.
"""

import torch
from torch import Tensor
from torch.nn import functional

#: Loading of a covariance, as a part of its mean diagonal.
LOADING = 1e-3
#: Added where all is silent: far below any sound at the level of 1.
EPSILON = 1e-10


def explain(estimates: Tensor, mixture: Tensor) -> Tensor:
    """Scale estimates so that their sum explains the mixture best, in least squares: a network leaves levels open.

    Args:
        estimates: complex spectra, (B, S, T, F); their signs are open as well.
        mixture: at the reference microphone, complex, (B, T, F).

    Returns:
        The scaled estimates, (B, S, T, F).
    """
    # As real numbers: gains have no phase.
    signals, target = torch.view_as_real(estimates).flatten(2), torch.view_as_real(mixture).flatten(1)
    energy = signals @ signals.mT
    loading = EPSILON * (1 + energy.diagonal(dim1=1, dim2=2).sum(1))
    energy = energy + loading[:, None, None] * torch.eye(energy.shape[1], device=energy.device)
    gains = torch.linalg.solve(energy, signals @ target[:, :, None])
    return estimates * gains[..., None]


def heard(mixture: Tensor) -> Tensor:
    """How many microphones of a mixture (B, M, T, F) hear anything, (B,)."""
    return (mixture.abs().sum((2, 3)) > 0).sum(1)


def with_rest(estimates: Tensor, mixture: Tensor) -> Tensor:
    """Estimates (B, S, T, F), and what they leave of the mixture (B, T, F): (B, S + 1, T, F)."""
    return torch.cat([estimates, mixture[:, None] - estimates.sum(1, keepdim=True)], dim=1)


def fitted(signals: Tensor, estimates: Tensor) -> Tensor:
    """Signals by the factors that fit them best to estimates, in least squares; all (B, S, T, F)."""
    factor = (signals.conj() * estimates).real.sum((2, 3), keepdim=True)
    return signals * factor / (signals.abs().square().sum((2, 3), keepdim=True) + EPSILON)


def wiener(estimates: Tensor, mixture: Tensor, frames: int = 3) -> Tensor:
    """Estimates' projection onto what linear filters can make of the mixture: one filter a speaker and frequency.

    The filter that comes closest to the estimate in least squares, from `frames` frames of every microphone; what a
    filter that stays the same all the time cannot do to the mixture, such as tearing holes into it, is undone.

    Args:
        estimates: complex spectra, (B, S, T, F).
        mixture: complex, (B, M, T, F).
        frames: the present one and those before it.

    Returns:
        The filtered mixture, (B, S, T, F); zeros where there is silence.
    """
    size = mixture.shape[2]
    delayed = [functional.pad(mixture, (0, 0, delay, 0))[:, :, :size] for delay in range(frames)]
    # Frames in which nothing is heard, as behind the end of a padded example, count for nothing.
    heard = mixture.abs().sum((1, 3), keepdim=True) > 0
    taps = (torch.cat(delayed, dim=1) * heard).permute(0, 3, 1, 2)  # (B, F, K, T)
    covariance = taps @ taps.mH
    loading = LOADING * covariance.diagonal(dim1=2, dim2=3).real.mean(2) + EPSILON
    eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    correlation = taps @ estimates.permute(0, 3, 2, 1).conj()  # (B, F, K, S)
    filters = torch.linalg.solve(covariance + loading[..., None, None] * eye, correlation)
    return (filters.mH @ taps).permute(0, 2, 3, 1)
