"""Features to zero mean and unit variance. Letters: B batch, T frame, D feature."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from sepasr_cli.recognition.conformer import valid_frames

NormalisationKind = Literal["utterance", "utterance_mean", "global", "none"]

#: Added to variances: features that hardly vary are not blown up.
EPSILON = 1e-8


class Normalisation(nn.Module):
    """Each feature less its mean and over its deviation: of the utterance (or less the mean alone), or `global`.

    Global statistics are those of the training speech, and are saved with the model.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, kind: NormalisationKind, size: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "global":
            self.register_buffer("mean", torch.zeros(size))
            self.register_buffer("deviation", torch.ones(size))

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Features (B, T, D) of the given lengths (B,); zero beyond them."""
        if self.kind == "none":
            return features
        valid = valid_frames(lengths, features.shape[1])[..., None]
        if self.kind == "global":
            return (features - self.mean) / self.deviation * valid
        count = lengths[:, None, None]
        centred = (features - (features * valid).sum(1, keepdim=True) / count) * valid
        if self.kind == "utterance_mean":
            return centred
        variance = centred.square().sum(1, keepdim=True) / count
        return centred / (variance + EPSILON).sqrt()

    def measure(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Take the global statistics of features (B, T, D) with their lengths (B,)."""
        frames = 0
        sums = torch.zeros(2, len(self.mean), dtype=torch.float64)
        for features, lengths in batches:
            precise = features[valid_frames(lengths, features.shape[1])].cpu().double()
            frames += len(precise)
            sums += torch.stack([precise.sum(0), precise.square().sum(0)])
        mean, power = sums / frames
        self.mean.copy_(mean)
        self.deviation.copy_(((power - mean.square()).clamp(min=0) + EPSILON).sqrt())
