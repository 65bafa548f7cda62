"""Transformer layers that look backwards only, and the attention decoder made of them (Vaswani et al. 2017).

Pre-norm, sinusoidal positions, inputs scaled by the root of their size: ESPnet's layout. Every stack runs in two ways
that give the same numbers: over whole sentences (training), or one token at a time with cached keys and values.
Letters: B batch (or hypothesis), U token, T frame of the encoder, D feature, H head, V vocabulary.
"""

import math
from dataclasses import dataclass, replace

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import Self

from sepasr_cli.recognition.conformer import FeedForward, check_heads, sinusoids, valid_frames
from sepasr_cli.settings import Settings

#: Keys and values of one attention, each (B, H, U or T, D / H).
KeysValues = tuple[Tensor, Tensor]


class TransformerDecoderConfig(Settings):
    """Sizes of the decoder; the defaults are those of arXiv 2307.12231. Its width is the encoder's."""

    blocks: int = Field(6, gt=0)
    heads: int = Field(4, gt=0)
    feed_forward: int = Field(2048, gt=0)
    dropout: float = Field(0.1, ge=0, lt=1)
    attention_dropout: float = Field(0.0, ge=0, lt=1)


class TransformerConfig(TransformerDecoderConfig):
    """The sizes of a stack with its width."""

    size: int = Field(256, gt=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_heads(self.size, self.heads)
        return self


def teacher_forcing(targets: Tensor, lengths: Tensor, boundary: int) -> tuple[Tensor, Tensor]:
    """What a model is given and what it shall answer, both (B, U + 1), for targets (B, U) of the given lengths.

    >>> given, answer = teacher_forcing(torch.tensor([[5, 6], [7, -1]]), torch.tensor([2, 1]), boundary=9)
    >>> given.tolist(), answer.tolist()
    ([[9, 5, 6], [9, 7, 9]], [[5, 6, 9], [7, 9, -1]])
    """
    inside = valid_frames(lengths, targets.shape[1] + 1)
    given = functional.pad(targets, (1, 0), value=boundary)
    given = given.masked_fill(~functional.pad(inside[:, :-1], (1, 0), value=True), boundary)
    answer = functional.pad(targets, (0, 1), value=-1).masked_fill(~inside, -1)
    return given, answer.scatter(1, lengths[:, None], boundary)


@dataclass(frozen=True)
class TransformerState:
    """What one-token-at-a-time decoding remembers of B hypotheses.

    `memory` holds the encoder's keys and values a layer; its batch is 1 where all hypotheses share them.
    """

    length: int
    past: tuple[KeysValues, ...]
    memory: tuple[KeysValues, ...] = ()
    memory_valid: Tensor | None = None

    def select(self, hypotheses: Tensor) -> "TransformerState":
        """The state of the hypotheses at these indices (any number of them, repeats allowed)."""
        past = tuple((keys[hypotheses], values[hypotheses]) for keys, values in self.past)
        if not self.memory or self.memory[0][0].shape[0] == 1:
            return replace(self, past=past)
        memory = tuple((keys[hypotheses], values[hypotheses]) for keys, values in self.memory)
        valid = None if self.memory_valid is None else self.memory_valid[hypotheses]
        return replace(self, past=past, memory=memory, memory_valid=valid)


class Attention(nn.Module):
    """Multi-head attention, with keys and values computed apart so that they can be kept."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(size, size) for _ in range(4))

    def keys_values(self, x: Tensor) -> KeysValues:
        """(B, U, D) -> keys and values, each (B, H, U, D / H)."""
        return self._split(self.key(x)), self._split(self.value(x))

    def forward(self, x: Tensor, memory: KeysValues, valid: Tensor | None = None, causal: bool = False) -> Tensor:
        """x (B, U, D) attends to the keys and values, where valid (B, T): -> (B, U, D)."""
        keys, values = (part.expand(x.shape[0], -1, -1, -1) for part in memory)
        mixed = functional.scaled_dot_product_attention(
            self._split(self.query(x)),
            keys,
            values,
            attn_mask=None if valid is None else valid[:, None, None],
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
        )
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class TransformerLayer(nn.Module):
    """Causal self-attention, attention to the encoder where `cross`, and a feed-forward; each on its norm and added."""

    def __init__(self, config: TransformerConfig, cross: bool) -> None:
        super().__init__()
        size = config.size
        self.own = Attention(size, config.heads, config.attention_dropout)
        self.own_norm = nn.LayerNorm(size)
        self.cross = Attention(size, config.heads, config.attention_dropout) if cross else None
        self.cross_norm = nn.LayerNorm(size) if cross else None
        self.feed_forward = FeedForward(size, config.feed_forward, nn.ReLU(), config.dropout)
        self.feed_forward_norm = nn.LayerNorm(size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, past: KeysValues | None, memory: KeysValues | None, memory_valid: Tensor | None
    ) -> tuple[Tensor, KeysValues]:
        """x (B, U, D) -> (B, U, D) and the keys and values of all tokens so far. With `past`, U is 1."""
        normed = self.own_norm(x)
        keys, values = self.own.keys_values(normed)
        if past is not None:
            keys, values = torch.cat([past[0], keys], dim=2), torch.cat([past[1], values], dim=2)
        x = x + self.dropout(self.own(normed, (keys, values), causal=past is None))
        if self.cross is not None and self.cross_norm is not None and memory is not None:
            x = x + self.dropout(self.cross(self.cross_norm(x), memory, memory_valid))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x))), (keys, values)


class TransformerStack(nn.Module):
    """Positions, layers and a final norm: what the decoder and the language model share."""

    def __init__(self, config: TransformerConfig, cross: bool) -> None:
        super().__init__()
        self.size = config.size
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(TransformerLayer(config, cross) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.size)

    def memory(self, encoded: Tensor) -> tuple[KeysValues, ...]:
        """The keys and values of the encoder's output (B, T, D), a layer each."""
        crossings = (layer.cross for layer in self.layers if isinstance(layer, TransformerLayer))
        return tuple(cross.keys_values(encoded) for cross in crossings if cross is not None)

    def forward(self, x: Tensor, state: TransformerState) -> tuple[Tensor, TransformerState]:
        """x (B, U, D): whole sentences with a fresh state, or one more token (U = 1) with any state."""
        positions = torch.arange(state.length, state.length + x.shape[1], device=x.device)
        x = self.dropout(x * math.sqrt(self.size) + sinusoids(positions, self.size))
        past = []
        for number, layer in enumerate(self.layers):
            x, kept = layer(
                x,
                state.past[number] if state.past else None,
                state.memory[number] if state.memory else None,
                state.memory_valid,
            )
            past.append(kept)
        return self.norm(x), replace(state, length=state.length + x.shape[1], past=tuple(past))


class TransformerDecoder(nn.Module):
    """Predicts each token from those before it and the encoder's output."""

    def __init__(self, config: TransformerDecoderConfig, size: int, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, size)
        self.stack = TransformerStack(TransformerConfig(**config.model_dump(), size=size), cross=True)
        self.out = nn.Linear(size, vocabulary)

    def start(self, encoded: Tensor, lengths: Tensor | None = None) -> TransformerState:
        """The state before the first token, for encoded (B, T, D) of the given lengths (B,)."""
        valid = None if lengths is None else valid_frames(lengths, encoded.shape[1])
        return TransformerState(length=0, past=(), memory=self.stack.memory(encoded), memory_valid=valid)

    def forward(self, encoded: Tensor, lengths: Tensor, tokens: Tensor) -> Tensor:
        """Teacher forcing: tokens (B, U), the first one the boundary -> logits (B, U, V) of the tokens after them."""
        x, _ = self.stack(self.embedding(tokens), self.start(encoded, lengths))
        return self.out(x)

    def step(self, tokens: Tensor, state: TransformerState) -> tuple[Tensor, TransformerState]:
        """One more token for each hypothesis, (B,) -> log probabilities (B, V) of the next one, and the new state."""
        x, state = self.stack(self.embedding(tokens[:, None]), state)
        return self.out(x[:, 0]).float().log_softmax(-1), state
