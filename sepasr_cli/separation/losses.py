"""Losses and metrics of separation, with permutation-invariant training (PIT).

Axes: B batch, S speaker, N sample, T frame, F frequency. `lengths` are the valid samples of each example, (B,).
A pairwise loss is (B, S, S): reference first, estimate second.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import Literal

import torch
from torch import Tensor

from sepasr_cli.separation.stft import Stft, valid

EPSILON = 1e-8
#: Share of the references' power below which a speaker counts as silent, and of the estimates' below which what is
#: heard of a silent speaker costs nothing more: -30 dB.
SILENT_FLOOR = 1e-3
#: The weights of the waveform and of the magnitudes in the `l1` loss, and the latter's transform (arXiv 2307.12231).
WAVEFORM_WEIGHT, MAGNITUDE_WEIGHT, MAGNITUDE_FFT, MAGNITUDE_HOP = 0.99, 0.01, 512, 256


@dataclass(frozen=True)
class PitResult:
    """The best assignment of estimates to references."""

    loss: Tensor
    """The mean over references under that assignment, (B,)."""
    order: Tensor
    """For each reference the index of its estimate, (B, S): estimate[b, order[b, s]] goes with reference[b, s]."""


def pit(pairwise: Tensor) -> PitResult:
    """The order of estimates, of all S!, with the lowest mean of pairwise losses (B, S, S).

    >>> result = pit(torch.tensor([[[3.0, 1.0], [0.0, 5.0]]]))
    >>> result.loss.tolist(), result.order.tolist()
    ([0.5], [[1, 0]])
    """
    speakers = pairwise.shape[-1]
    orders = torch.tensor(list(permutations(range(speakers))), device=pairwise.device)
    losses = pairwise[:, torch.arange(speakers, device=pairwise.device), orders].mean(-1)
    loss, best = losses.min(dim=-1)
    return PitResult(loss, orders[best])


def separation_loss(
    estimate: Tensor,
    reference: Tensor,
    lengths: Tensor | None = None,
    kind: Literal["l1", "si_sdr"] = "l1",
    level: Tensor | None = None,
) -> PitResult:
    """The loss of estimates (B, S, N) against references (B, S, N), by the best order.

    `l1` is that of arXiv 2307.12231: each estimate scaled to fit its reference by least squares, then 0.99 x the
    absolute waveform errors + 0.01 x the absolute errors of 512-point STFT magnitudes; both are summed, then divided
    by the valid samples, so that its value does not grow with length. It grows with loudness: `level` (B,), the
    mixtures' standard deviation, divides it, which gives loud and quiet examples the same weight, as in the paper.
    `si_sdr` is the negative SI-SDR in dB; where a reference is silent (30 dB below the others), as in a segment in
    which another speaker is alone, it is the estimate's share of the power of all estimates in dB, down to -30 dB (a
    soft threshold, as in Wisdom et al., "What's All the FUSS About Free Universal Sound Separation Data?", arXiv
    2011.00803, here without regard to levels, as SI-SDR is).
    """
    if kind == "si_sdr":
        pairwise = -si_sdr(estimate[:, None], reference[:, :, None], lengths)
        silent = _share(reference, lengths) <= SILENT_FLOOR
        leakage = 10 * torch.log10(_share(estimate, lengths) + SILENT_FLOOR)
        return pit(torch.where(silent[:, :, None], leakage[:, None], pairwise))
    pairwise = _pairwise_l1(estimate, reference, lengths)
    return pit(pairwise if level is None else pairwise / level.view(-1, 1, 1).clamp(min=EPSILON))


def _share(signals: Tensor, lengths: Tensor | None) -> Tensor:
    """Of signals (B, S, N) the share of each in the power of all, (B, S)."""
    power = _masked(signals.float(), lengths).square().sum(-1)
    return power / (power.sum(1, keepdim=True) + EPSILON)


def _pairwise_l1(estimate: Tensor, reference: Tensor, lengths: Tensor | None) -> Tensor:
    estimate, reference = (_masked(audio.float(), lengths) for audio in (estimate, reference))
    count = reference.shape[-1] if lengths is None else lengths.clamp(min=1).view(-1, 1, 1)
    product = (estimate[:, None] * reference[:, :, None]).sum(-1, keepdim=True)
    scale = product / (estimate.square().sum(-1, keepdim=True)[:, None] + EPSILON)  # (B, S, S, 1)
    waveform = (scale * estimate[:, None] - reference[:, :, None]).abs().sum(-1)
    stft = _magnitude_stft(estimate.device)
    found, wanted = (stft.analyse(audio, lengths).abs().flatten(2) for audio in (estimate, reference))
    magnitude = (scale.abs() * found[:, None] - wanted[:, :, None]).abs().sum(-1)
    return (WAVEFORM_WEIGHT * waveform + MAGNITUDE_WEIGHT * magnitude) / count


@lru_cache(maxsize=8)
def _magnitude_stft(device: torch.device) -> Stft:
    return Stft(MAGNITUDE_FFT, MAGNITUDE_HOP).to(device)


def si_sdr(estimate: Tensor, reference: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The scale-invariant signal-to-distortion ratio in dB of (B, ..., N), or (N,): (B, ...).

    Le Roux et al., "SDR - half-baked or well done?" (arXiv 1811.02508), on signals whose mean is removed. Finite on
    silence. The two shapes are broadcast against one another.
    """
    estimate, reference = (_centred(audio.float(), lengths) for audio in (estimate, reference))
    scale = (estimate * reference).sum(-1, keepdim=True) / (reference.square().sum(-1, keepdim=True) + EPSILON)
    target = scale * reference
    signal, distortion = target.square().sum(-1), (estimate - target).square().sum(-1)
    return 10 * torch.log10((signal + EPSILON) / (distortion + EPSILON))


def _masked(audio: Tensor, lengths: Tensor | None) -> Tensor:
    """Audio (B, ..., N) with zeros beyond the lengths."""
    return audio if lengths is None else torch.where(_along(valid(lengths, audio.shape[-1]), audio), audio, 0)


def _centred(audio: Tensor, lengths: Tensor | None) -> Tensor:
    """Audio (B, ..., N) less its mean, with zeros beyond the lengths."""
    audio = _masked(audio, lengths)
    count = audio.shape[-1] if lengths is None else _along(lengths.clamp(min=1)[:, None], audio)
    return _masked(audio - audio.sum(-1, keepdim=True) / count, lengths)


def _along(values: Tensor, audio: Tensor) -> Tensor:
    """(B, N) or (B, 1) with the axes that broadcast it over (B, ..., N)."""
    return values.view(-1, *[1] * (audio.dim() - 2), values.shape[-1])


def mask_loss(
    masks: Tensor, mixture: Tensor, references: Tensor, noise: Tensor, frames: Tensor | None = None
) -> PitResult:
    """How well masks recover the phase-sensitive magnitudes of the sources, by the best order of speakers.

    The target of a source X in the mixture Y is |X| cos(angle between X and Y), kept within 0 and |Y|
    (Erdogan et al., "Phase-sensitive and recognition-boosted speech separation using deep recurrent neural networks",
    ICASSP 2015); the loss is the absolute error of mask x |Y|, summed and divided by the sum of |Y|.

    Args:
        masks: of the speakers, then of the noise, (B, S + 1, T, F).
        mixture: its complex spectrum at the reference microphone, (B, T, F).
        references: complex spectra of the speakers, (B, S, T, F).
        noise: complex spectrum of everything else, (B, T, F).
        frames: valid frames of each example, (B,).

    Returns:
        The loss is the mean over speakers and noise, (B,).
    """
    speakers = references.shape[1]
    assert masks.shape[1] == speakers + 1, (masks.shape, references.shape)
    magnitude = mixture.abs()
    if frames is not None:
        magnitude = magnitude * valid(frames, magnitude.shape[1])[:, :, None]
    total = magnitude.sum((1, 2)) + EPSILON
    phase = torch.polar(torch.ones_like(magnitude), -mixture.angle())

    def target(source: Tensor, phase: Tensor, magnitude: Tensor) -> Tensor:
        return torch.minimum((source * phase).real.clamp(min=0), magnitude)

    found = masks * magnitude[:, None]
    wanted = target(references, phase[:, None], magnitude[:, None])
    pairwise = (found[:, None, :speakers] - wanted[:, :, None]).abs().sum((-2, -1)) / total[:, None, None]
    best = pit(pairwise)
    rest = (found[:, speakers] - target(noise, phase, magnitude)).abs().sum((-2, -1)) / total
    return PitResult((speakers * best.loss + rest) / (speakers + 1), best.order)
