"""Conformer encoder: Gulati et al. 2020, with the relative positions of Transformer-XL (Dai et al. 2019, appendix B).

The layout of weights is ESPnet's (`conv2d2` / `conv2d` subsampling, "latest" relative positions), so that its
checkpoints can be mapped. Letters: B batch, T frame, D feature, H head, P relative position (2T - 1 of them).
"""

import contextlib
import functools
import math
from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from typing_extensions import Self

from sepasr_cli.errors import SepasrError
from sepasr_cli.settings import Settings

#: Two unpadded 3 x 3 convolutions, the first with stride 2, leave nothing of fewer frames or features.
SHORTEST = 7

#: As ESPnet's layer norms have it.
NORM_EPSILON = 1e-12


class ConformerConfig(Settings):
    """Sizes of the encoder; the defaults are those of arXiv 2307.12231."""

    kind: Literal["conformer"] = "conformer"
    blocks: int = Field(12, gt=0)
    size: int = Field(256, gt=0)
    heads: int = Field(4, gt=0)
    feed_forward: int = Field(2048, gt=0)
    kernel: int = Field(15, gt=0)
    subsampling: Literal[2, 4] = 2
    dropout: float = Field(0.1, ge=0, lt=1)
    attention_dropout: float = Field(0.0, ge=0, lt=1)
    convolution_norm: Literal["batch", "layer"] = "batch"
    checkpoint_activations: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_heads(self.size, self.heads)
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel is {self.kernel}; expected an odd number, so that a frame sees both sides alike")
        return self


def check_heads(size: int, heads: int) -> None:
    """Refuse sizes that heads or sinusoids cannot share (ValueError, for validators)."""
    if size % heads or size % 2:
        raise ValueError(f"size {size} does not fit {heads} heads; expected an even multiple of the heads")


def valid_frames(lengths: Tensor, total: int) -> Tensor:
    """True where a padded batch holds data: lengths (B,) -> (B, T).

    >>> valid_frames(torch.tensor([1, 3]), 3).tolist()
    [[True, False, False], [True, True, True]]
    """
    return torch.arange(total, device=lengths.device) < lengths[:, None]


def sinusoids(positions: Tensor, size: int) -> Tensor:
    """Sine and cosine of each position at `size` / 2 rates, interleaved (Vaswani et al. 2017, 3.5): (P,) -> (P, D)."""
    rates = torch.exp(torch.arange(0, size, 2, device=positions.device) * (-math.log(10000.0) / size))
    angles = positions[:, None].float() * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


class ConvolutionalSubsampling(nn.Module):
    """Two 3 x 3 convolutions over time and features that keep a half or a quarter of the frames, and a projection."""

    def __init__(self, features: int, size: int, factor: Literal[2, 4]) -> None:
        super().__init__()
        if features < SHORTEST:
            raise SepasrError(f"features have {features} dimensions; the encoder needs {SHORTEST} or more")
        self.factor = factor
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, size, 3, 2), nn.ReLU(), nn.Conv2d(size, size, 3, factor // 2), nn.ReLU()
        )
        self.project = nn.Linear(size * int(self.remaining(torch.tensor(features, device="cpu"))), size)

    def remaining(self, count: Tensor) -> Tensor:
        """How many of `count` frames are left; never fewer than one."""
        half = (count - 1) // 2
        return (half - 2 if self.factor == 2 else (half - 1) // 2).clamp(min=1)

    def centre(self, frame: float) -> float:
        """The feature frame in the middle of those that a frame after the convolutions sees.

        >>> ConvolutionalSubsampling(20, 4, 2).centre(1), ConvolutionalSubsampling(20, 4, 4).centre(1)
        (5, 7)
        """
        return self.factor * frame + 3

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) and lengths (B,) -> (B, T', size) and lengths."""
        # Zeroed, because an example shorter than SHORTEST sees its padding.
        features = features.masked_fill(~valid_frames(lengths, features.shape[1])[..., None], 0.0)
        features = functional.pad(features, (0, 0, 0, max(0, SHORTEST - features.shape[1])))
        maps = self.convolutions(features[:, None])
        return self.project(maps.transpose(1, 2).flatten(2)), self.remaining(lengths)


class RelativeAttention(nn.Module):
    """Multi-head self-attention whose scores know the distance of two frames (Dai et al. 2019)."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(size, size) for _ in range(4))
        self.position = nn.Linear(size, size, bias=False)
        self.content_bias = nn.Parameter(torch.empty(heads, 1, size // heads))
        self.position_bias = nn.Parameter(torch.empty(heads, 1, size // heads))
        for bias in (self.content_bias, self.position_bias):
            nn.init.xavier_uniform_(bias[:, 0])

    def forward(self, x: Tensor, positions: Tensor, valid: Tensor) -> Tensor:
        """x (B, T, D), positions (P, D) from T - 1 down to -(T - 1), valid (B, T) -> (B, T, D)."""
        query, key, value = (self._split(layer(x)) for layer in (self.query, self.key, self.value))
        position = self._split(self.position(positions)[None])
        distance = (query + self.position_bias) @ position.transpose(-1, -2) / math.sqrt(query.shape[-1])
        bias = shift_to_distances(distance).masked_fill(~valid[:, None, None], -torch.inf)
        mixed = functional.scaled_dot_product_attention(
            query + self.content_bias, key, value, attn_mask=bias, dropout_p=self.dropout if self.training else 0.0
        )
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, T, D / H)


def shift_to_distances(scores: Tensor) -> Tensor:
    """Take from scores (..., T, P) over the distances T - 1, ..., -(T - 1) those of i - j: (..., T, T).

    >>> shift_to_distances(torch.tensor([[1, 0, -1], [1, 0, -1]])).tolist()  # T = 2
    [[0, -1], [1, 0]]
    """
    *batch, frames, distances = scores.shape
    padded = functional.pad(scores, (1, 0)).reshape(*batch, distances + 1, frames)
    return padded[..., 1:, :].reshape(*batch, frames, distances)[..., :frames]


class Convolution(nn.Module):
    """Gated pointwise, depthwise, norm, swish, pointwise (Gulati et al. 2020, figure 2)."""

    def __init__(self, size: int, kernel: int, norm: Literal["batch", "layer"]) -> None:
        super().__init__()
        self.expand = nn.Linear(size, 2 * size)
        self.depthwise = nn.Conv1d(size, size, kernel, padding=kernel // 2, groups=size)
        self.norm: nn.Module = nn.BatchNorm1d(size) if norm == "batch" else nn.LayerNorm(size)
        self.contract = nn.Linear(size, size)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """x (B, T, D), valid (B, T) -> (B, T, D)."""
        x = functional.glu(self.expand(x), dim=-1).masked_fill(~valid[..., None], 0.0)
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return self.contract(functional.silu(self._normalise(x, valid)))

    def _normalise(self, x: Tensor, valid: Tensor) -> Tensor:
        norm = self.norm
        if not isinstance(norm, nn.BatchNorm1d):
            return norm(x)
        # Statistics of the data alone, so that they do not depend on how much a batch is padded.
        frames = x[valid] if self.training else x.flatten(0, 1)
        normed = functional.batch_norm(
            frames,
            norm.running_mean,
            norm.running_var,
            norm.weight,
            norm.bias,
            training=self.training and len(frames) > 1,
            momentum=norm.momentum or 0.0,
            eps=norm.eps,
        )
        if self.training:
            return torch.zeros_like(x).masked_scatter(valid[..., None], normed.to(x.dtype))
        return normed.unflatten(0, x.shape[:2])


class FeedForward(nn.Sequential):
    """Two layers with an activation and dropout between them."""

    def __init__(
        self, size: int, hidden: int, activation: nn.Module, dropout: float, linear: type[nn.Linear] = nn.Linear
    ) -> None:
        super().__init__(linear(size, hidden), activation, nn.Dropout(dropout), linear(hidden, size))


class ConformerBlock(nn.Module):
    """Half feed-forward, attention, convolution, half feed-forward, each on its norm and added; a norm at the end."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        size = config.size
        self.first = FeedForward(size, config.feed_forward, nn.SiLU(), config.dropout)
        self.attention = RelativeAttention(size, config.heads, config.attention_dropout)
        self.convolution = Convolution(size, config.kernel, config.convolution_norm)
        self.second = FeedForward(size, config.feed_forward, nn.SiLU(), config.dropout)
        self.norms = nn.ModuleDict(
            {
                name: nn.LayerNorm(size, NORM_EPSILON)
                for name in ("first", "attention", "convolution", "second", "final")
            }
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, positions: Tensor, valid: Tensor) -> Tensor:
        """x (B, T, D), positions (P, D), valid (B, T) -> (B, T, D)."""
        x = x + 0.5 * self.dropout(self.first(self.norms["first"](x)))
        x = x + self.dropout(self.attention(self.norms["attention"](x), positions, valid))
        x = x + self.dropout(self.convolution(self.norms["convolution"](x), valid))
        x = x + 0.5 * self.dropout(self.second(self.norms["second"](x)))
        return self.norms["final"](x)


class Conformer(nn.Module):
    """Subsampling and Conformer blocks: `features` dimensions in, `config.size` out."""

    def __init__(self, config: ConformerConfig, features: int) -> None:
        super().__init__()
        self.config, self.size = config, config.size
        self.subsampling = ConvolutionalSubsampling(features, config.size, config.subsampling)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(ConformerBlock(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.size, NORM_EPSILON)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, D) and their lengths (B,) -> encoded (B, T', size) and its lengths, each at least 1."""
        x, lengths = self.subsampling(features, lengths)
        frames = x.shape[1]
        valid = valid_frames(lengths, frames)
        positions = self.dropout(sinusoids(torch.arange(frames - 1, -frames, -1, device=x.device), self.size))
        x = self.dropout(x * math.sqrt(self.size))
        for block in self.blocks:
            if self.config.checkpoint_activations and torch.is_grad_enabled():
                contexts = functools.partial(_contexts, block)
                x = checkpoint(block, x, positions, valid, use_reentrant=False, context_fn=contexts)
            else:
                x = block(x, positions, valid)
        return self.norm(x), lengths


def _contexts(block: nn.Module) -> tuple[contextlib.AbstractContextManager, contextlib.AbstractContextManager]:
    """What surrounds the first computation of a checkpointed block, and its second."""
    return contextlib.nullcontext(), _statistics_kept(block)


@contextlib.contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Keep batch norms from counting a batch a second time when activations are computed again."""
    norms = [part for part in block.modules() if isinstance(part, nn.BatchNorm1d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
