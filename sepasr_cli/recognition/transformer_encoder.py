"""Transformer encoder (Vaswani et al. 2017) on convolutional subsampling, in the Conformer's place.

Pre-norm, sinusoidal positions, inputs scaled by the root of their size: ESPnet's layout. Letters: B batch, T frame,
D feature.
"""

import math
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from typing_extensions import Self

from sepasr_cli.recognition.conformer import (
    NORM_EPSILON,
    ConvolutionalSubsampling,
    FeedForward,
    check_heads,
    sinusoids,
    valid_frames,
)
from sepasr_cli.recognition.transformer_decoder import Attention
from sepasr_cli.settings import Settings


class TransformerEncoderConfig(Settings):
    """Sizes of the encoder; the defaults are those of ESPnet's recipes for WSJ."""

    kind: Literal["transformer"] = "transformer"
    blocks: int = Field(12, gt=0)
    size: int = Field(256, gt=0)
    heads: int = Field(4, gt=0)
    feed_forward: int = Field(2048, gt=0)
    subsampling: Literal[2, 4] = 4
    dropout: float = Field(0.1, ge=0, lt=1)
    attention_dropout: float = Field(0.0, ge=0, lt=1)
    checkpoint_activations: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_heads(self.size, self.heads)
        return self


class TransformerEncoderBlock(nn.Module):
    """Self-attention and feed-forward, each on its norm and added."""

    def __init__(self, config: TransformerEncoderConfig) -> None:
        super().__init__()
        size = config.size
        self.attention = Attention(size, config.heads, config.attention_dropout)
        self.attention_norm = nn.LayerNorm(size, NORM_EPSILON)
        self.feed_forward = FeedForward(size, config.feed_forward, nn.ReLU(), config.dropout)
        self.feed_forward_norm = nn.LayerNorm(size, NORM_EPSILON)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """x (B, T, D), where valid (B, 1, 1, T) -> (B, T, D)."""
        normed = self.attention_norm(x)
        x = x + self.dropout(self.attention(normed, self.attention.keys_values(normed), valid))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class TransformerEncoder(nn.Module):
    """Subsampling and Transformer blocks: `features` dimensions in, `config.size` out."""

    def __init__(self, config: TransformerEncoderConfig, features: int) -> None:
        super().__init__()
        self.config, self.size = config, config.size
        self.subsampling = ConvolutionalSubsampling(features, config.size, config.subsampling)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(TransformerEncoderBlock(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.size, NORM_EPSILON)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, D) and their lengths (B,) -> encoded (B, T', size) and its lengths, each at least 1."""
        x, lengths = self.subsampling(features, lengths)
        valid = valid_frames(lengths, x.shape[1])[:, None, None]
        positions = torch.arange(x.shape[1], device=x.device)
        x = self.dropout(x * math.sqrt(self.size) + sinusoids(positions, self.size))
        for block in self.blocks:
            if self.config.checkpoint_activations and torch.is_grad_enabled():
                x = checkpoint(block, x, valid, use_reentrant=False)
            else:
                x = block(x, valid)
        return self.norm(x), lengths
