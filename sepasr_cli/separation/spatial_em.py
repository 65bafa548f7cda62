"""Separation by where sounds come from: estimates of a network guide a spatial mixture model, fitted to the recording.

N. Ito, S. Araki, T. Nakatani, "Complex Angular Central Gaussian Mixture Model for Directional Statistics in Mask-Based
Microphone Array Signal Processing" (EUSIPCO 2016); a network's masks are its weights, as in T. Nakatani, N. Ito, T.
Higuchi, S. Araki, K. Kinoshita, "Integrating DNN-Based and Spatial Clustering-Based Mask Estimation for Robust MVDR
Beamforming" (ICASSP 2017).

Axes: B batch, S speaker, C class (the speakers, then the noise), M microphone, T frame, F frequency.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from sepasr_cli.separation.mask_mvdr import ratio_masks
from sepasr_cli.separation.wiener import explain, fitted, heard, wiener, with_rest

ITERATIONS = 5
#: Exponent of the network's masks: it is surer than it should be.
TRUST = 0.7
#: What a class is given everywhere at least, before the exponent.
LEAST = 1e-3
#: Loading of a class's covariance, as a part of its mean diagonal.
LOADING = 1e-3
EPSILON = 1e-8
#: Frequencies that are processed at once on a CPU, so that they stay in its caches.
CACHED_FREQUENCIES = 32


class Refined(NamedTuple):
    """Three views of each speaker, (B, 3, S, T, F), and how unsure the spatial model is of them, (B,).

    That is the mean entropy of its masks in nats, weighted by the reference microphone's amplitudes: where a network
    has confused two speakers, no directions agree with what it says. Zero where one microphone hears none.
    """

    views: Tensor
    doubt: Tensor


def refined(estimates: Tensor, mixture: Tensor) -> Refined:
    """Three views of each speaker, whose errors differ, so that their mean is better than each.

    The estimates at levels that explain the mixture; the mixture through the masks of the spatial model that the
    estimates guide; and what multi-frame Wiener filters make of these. Of one microphone, the estimates three times.

    Args:
        estimates: complex spectra at the reference microphone, (B, S, T, F).
        mixture: complex, (B, M, T, F), the reference microphone first, at the level of 1; zeros where one is missing.
    """
    estimates = explain(estimates, mixture[:, 0])
    several = heard(mixture) > 1
    if not several.any():
        return Refined(torch.stack([estimates] * 3, dim=1), torch.zeros_like(several, dtype=estimates.real.dtype))
    masks = spatial_masks(mixture, ratio_masks(with_rest(estimates, mixture[:, 0])))
    # Masks let through less than there is.
    masked = fitted(mixture[:, :1] * masks[:, :-1], estimates)
    views = torch.stack([estimates, masked, wiener(masked, mixture)], dim=1)
    amplitude = mixture[:, 0].abs()
    doubt = (torch.special.entr(masks).sum(1) * amplitude).sum((1, 2)) / (amplitude.sum((1, 2)) + EPSILON)
    return Refined(torch.where(several[:, None, None, None, None], views, estimates[:, None]), doubt * several)


def spatial_masks(mixture: Tensor, masks: Tensor) -> Tensor:
    """Masks that agree with the directions of what is heard: `ITERATIONS` of EM, begun from masks and weighted by them.

    Args:
        mixture: complex, (B, M, T, F).
        masks: of each class, in [0, 1], (B, C, T, F).

    Returns:
        The probability of each class, (B, C, T, F).
    """
    microphones = heard(mixture).clamp(min=1)[:, None, None, None]
    groups = -(-mixture.shape[3] // CACHED_FREQUENCIES) if mixture.device.type == "cpu" else 1
    parts = zip(mixture.chunk(groups, dim=3), masks.chunk(groups, dim=3), strict=True)
    return torch.cat([_expect_and_maximise(*part, microphones) for part in parts], dim=3)


def _expect_and_maximise(mixture: Tensor, masks: Tensor, microphones: Tensor) -> Tensor:
    observed = mixture.permute(0, 3, 1, 2)[:, :, None]  # [B, F, 1, M, T]
    observed = observed / (observed.abs().square().sum(3, keepdim=True).sqrt() + EPSILON)
    prior = masks.clamp(min=LEAST).log().permute(0, 3, 1, 2) * TRUST  # [B, F, C, T]
    probability = masks.permute(0, 3, 1, 2)
    spread = torch.ones_like(probability)
    eye = torch.eye(mixture.shape[1], device=mixture.device)
    for _ in range(ITERATIONS):
        # Equation 12 of Ito et al., less its factor: a covariance's scale leaves the likelihood as it is.
        weights = probability / spread
        covariance = (observed * weights[:, :, :, None]) @ observed.mH  # [B, F, C, M, M]
        power = covariance.diagonal(dim1=3, dim2=4).real.sum(3)[..., None, None]
        covariance = covariance * microphones[..., None] / (power + EPSILON) + LOADING * eye
        whitened = torch.linalg.inv(covariance) @ observed
        spread = (observed.conj() * whitened).real.sum(3).clamp(min=EPSILON)
        likelihood = -torch.linalg.slogdet(covariance).logabsdet[..., None] - microphones * spread.log()
        probability = (likelihood + prior).softmax(2)
    return probability.permute(0, 2, 3, 1)
