"""Transformer layers that look backwards only, and the attention decoder made of them (Vaswani et al. 2017).

Pre-norm, sinusoidal positions, inputs scaled by the root of their size: ESPnet's layout. Every stack runs in two ways
that give the same numbers: over whole sentences (training), or one token at a time for all hypotheses of a search.
Letters: B batch, K hypothesis, U token, T frame of the encoder, D feature, H head, L layer, N node, V vocabulary.
"""

import math
from collections.abc import Iterable
from itertools import zip_longest
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import Self

from sepasr_cli.onednn import Linear, Packed
from sepasr_cli.recognition.conformer import NORM_EPSILON, FeedForward, check_heads, sinusoids, valid_frames
from sepasr_cli.settings import Settings

#: Keys and values of one attention, each (B, H, U or T, D / H).
KeysValues = tuple[Tensor, Tensor]

#: Steps of a search for which its cache has room before it is tidied.
STEPS_AHEAD = 8


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
    positions: Literal["sinusoidal", "none"] = Field(
        "sinusoidal", description="what tells the place of a token; none: only that it sees nothing after it"
    )

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


class TransformerState:
    """What decoding one token at a time remembers of B utterances with K hypotheses each.

    The hypotheses of an utterance are a tree, most of whose nodes they share. Keys and values are kept once a node, and
    each hypothesis attends to all nodes of its utterance through a mask that shows it its ancestors alone. So choosing
    hypotheses moves a row of the mask, never keys or values; nodes without descendants are cleared away at times.
    """

    def __init__(self, memory: tuple[KeysValues, ...] = (), memory_mask: Tensor | None = None) -> None:
        """Keys and values of the encoder's output, a layer each, with a mask to add to scores, (B, 1, 1, T)."""
        self.memory, self.memory_mask = memory, memory_mask
        self.length = 0
        self._used = 0
        #: Keys and values of all nodes (L, 2, B, H, N, D / H), made with the first token; some are not used yet.
        self._nodes: Tensor | None = None
        #: What to add to the scores of nodes (B, K, N): zero for a hypothesis's own, else -inf.
        self._hidden: Tensor | None = None

    def begin_step(self, tokens: Tensor, layers: int, heads: int, width: int, like: Tensor) -> None:
        """Make room for one more node for each of tokens (B, K), which only its own hypothesis sees."""
        batch, hypotheses = tokens.shape
        if self._nodes is None or self._hidden is None:
            room = STEPS_AHEAD * hypotheses
            self._nodes = like.new_empty(layers, 2, batch, heads, room, width)
            self._hidden = like.new_full((batch, hypotheses, room), -torch.inf)
        elif self._used + hypotheses > self._nodes.shape[4]:
            self._tidy(STEPS_AHEAD * hypotheses)
        self._hidden[:, :, self._used : self._used + hypotheses].diagonal(dim1=1, dim2=2).zero_()
        self._used += hypotheses
        self.length += 1

    def remember(self, layer: int, new: Tensor) -> KeysValues:
        """Keep the keys and values (2, B, H, K, D / H) of a step that has begun; returns those of all nodes."""
        assert self._nodes is not None
        kept = self._nodes[layer, ..., : self._used, :]
        kept[..., -new.shape[3] :, :] = new
        keys, values = kept.unbind()
        return keys, values

    @property
    def mask(self) -> Tensor:
        """What to add to scores (B, H, K, N) of the nodes."""
        assert self._hidden is not None
        return self._hidden[:, None, :, : self._used]

    def select(self, parents: Tensor) -> None:
        """Go on with the hypotheses at these indices (B, K') of each utterance, repeats allowed."""
        assert self._hidden is not None
        self._hidden = self._hidden.gather(1, parents[..., None].expand(-1, -1, self._hidden.shape[2]))

    def keep(self, utterances: Tensor) -> None:
        """Forget all but the utterances at these indices (B',)."""
        self.memory = tuple((keys[utterances], values[utterances]) for keys, values in self.memory)
        self.memory_mask = None if self.memory_mask is None else self.memory_mask[utterances]
        if self._nodes is not None and self._hidden is not None:
            self._nodes, self._hidden = self._nodes[:, :, utterances], self._hidden[utterances]

    def _tidy(self, room: int) -> None:
        """Drop the nodes that no hypothesis descends from, and make room for so many more."""
        assert self._nodes is not None and self._hidden is not None
        alive = (self._hidden == 0).any(1)
        count = int(alive.sum(1).max())
        # Utterances with fewer live nodes keep some dead ones, which stay hidden.
        order = alive.sort(dim=1, descending=True, stable=True).indices[:, :count]
        layers, _, _, heads, _, width = self._nodes.shape
        index = order[None, None, :, None, :, None].expand(layers, 2, -1, heads, -1, width)
        self._nodes = functional.pad(self._nodes.gather(4, index), (0, 0, 0, room))
        hidden = self._hidden.gather(2, order[:, None].expand(-1, self._hidden.shape[1], -1))
        self._hidden = functional.pad(hidden, (0, room), value=-torch.inf)
        self._used = count


class Attention(nn.Module):
    """Multi-head attention, with keys and values computed apart so that they can be kept."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (Linear(size, size) for _ in range(4))

    def keys_values(self, x: Tensor) -> KeysValues:
        """(B, U, D) -> keys and values, each (B, H, U, D / H)."""
        return self.split(self.key(x)), self.split(self.value(x))

    def forward(self, x: Tensor, memory: KeysValues, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """x (B, U, D) attends to the keys and values, whose scores have `mask` added: -> (B, U, D)."""
        return self.out(self.mix(self.split(self.query(x)), memory, mask, causal))

    def mix(self, query: Tensor, memory: KeysValues, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """The values as the queries (B, H, U, D / H) attend to them: (B, U, D), before the last projection."""
        dropout = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, *memory, mask, dropout, causal)
        return mixed.transpose(1, 2).flatten(2)

    def split(self, x: Tensor) -> Tensor:
        """(B, U, D) -> (B, H, U, D / H)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class TransformerLayer(nn.Module):
    """Causal self-attention, attention to the encoder where `cross`, and a feed-forward; each on its norm and added."""

    def __init__(self, config: TransformerConfig, cross: bool) -> None:
        super().__init__()
        size = config.size
        self.own = Attention(size, config.heads, config.attention_dropout)
        self.own_norm = nn.LayerNorm(size, NORM_EPSILON)
        self.cross = Attention(size, config.heads, config.attention_dropout) if cross else None
        self.cross_norm = nn.LayerNorm(size, NORM_EPSILON) if cross else None
        self.feed_forward = FeedForward(size, config.feed_forward, nn.ReLU(), config.dropout, Linear)
        self.feed_forward_norm = nn.LayerNorm(size, NORM_EPSILON)
        self.dropout = nn.Dropout(config.dropout)
        first, second = (part for part in self.feed_forward if isinstance(part, nn.Linear))
        self.own_in, self.own_out = Packed(self.own.query, self.own.key, self.own.value), Packed(self.own.out)
        self.feed_in, self.feed_out = Packed(first), Packed(second)
        if self.cross is not None:
            self.cross_in, self.cross_out = Packed(self.cross.query), Packed(self.cross.out)

    def forward(self, x: Tensor, memory: KeysValues | None, memory_mask: Tensor | None) -> Tensor:
        """Whole sentences (B, U, D), with keys and values of the encoder's output where there is a `cross`."""
        normed = self.own_norm(x)
        x = x + self.dropout(self.own(normed, self.own.keys_values(normed), causal=True))
        if self.cross is not None and self.cross_norm is not None and memory is not None:
            x = x + self.dropout(self.cross(self.cross_norm(x), memory, memory_mask))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))

    def step(self, x: Tensor, state: TransformerState, number: int) -> Tensor:
        """One token of each hypothesis, (B, K, D), by layer `number`; with few rows calls count, so there are few."""
        split = (*x.shape[:2], -1, self.own.heads, x.shape[2] // self.own.heads)
        parts = self.own_in(self.own_norm(x)).view(split).permute(2, 0, 3, 1, 4)  # query, key, value: [B, H, K, D / H]
        x = self.own_out(self.own.mix(parts[0], state.remember(number, parts[1:]), state.mask), added=x)
        if self.cross is not None and self.cross_norm is not None:
            query = self.cross.split(self.cross_in(self.cross_norm(x)))
            x = self.cross_out(self.cross.mix(query, state.memory[number], state.memory_mask), added=x)
        return self.feed_out(self.feed_in(self.feed_forward_norm(x), relu=True), added=x)


class TransformerStack(nn.Module):
    """Positions, layers and a final norm: what the decoder and the language model share."""

    def __init__(self, config: TransformerConfig, cross: bool) -> None:
        super().__init__()
        self.size, self.heads, self.positions = config.size, config.heads, config.positions
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(TransformerLayer(config, cross) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.size, NORM_EPSILON)

    def start(self, encoded: Tensor | None = None, lengths: Tensor | None = None) -> TransformerState:
        """The state before the first token, with the encoder's output (B, T, D) of the given lengths (B,)."""
        if encoded is None:
            return TransformerState()
        crossings = (layer.cross for layer in self.layers if isinstance(layer, TransformerLayer))
        memory = tuple(cross.keys_values(encoded) for cross in crossings if cross is not None)
        mask = None
        if lengths is not None:
            valid = valid_frames(lengths, encoded.shape[1])[:, None, None]
            mask = torch.zeros_like(valid, dtype=memory[0][0].dtype).masked_fill(~valid, -torch.inf)
        return TransformerState(memory, mask)

    def forward(self, x: Tensor, state: TransformerState) -> Tensor:
        """Whole sentences (B, U, D), which leave the state as it is."""
        x = self._placed(x, torch.arange(x.shape[1], device=x.device))
        for layer, memory in zip_longest(self.layers, state.memory):
            x = layer(x, memory, state.memory_mask)
        return self.norm(x)

    def step(self, x: Tensor, state: TransformerState) -> Tensor:
        """One more token of each hypothesis, (B, K, D); the state goes on by it."""
        position = torch.full((1,), state.length, device=x.device)
        state.begin_step(x[..., 0], len(self.layers), self.heads, self.size // self.heads, x)
        x = self._placed(x, position)
        layers: Iterable[TransformerLayer] = self.layers  # type: ignore[assignment]
        for number, layer in enumerate(layers):
            x = layer.step(x, state, number)
        return self.norm(x)

    def _placed(self, x: Tensor, positions: Tensor) -> Tensor:
        if self.positions == "sinusoidal":
            x = self.dropout(x * math.sqrt(self.size) + sinusoids(positions, self.size))
        return x


class TransformerDecoder(nn.Module):
    """Predicts each token from those before it and the encoder's output."""

    def __init__(self, config: TransformerDecoderConfig, size: int, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, size)
        self.stack = TransformerStack(TransformerConfig(**config.model_dump(), size=size), cross=True)
        self.out = Linear(size, vocabulary)
        self.packed_out = Packed(self.out)

    def start(self, encoded: Tensor, lengths: Tensor | None = None) -> TransformerState:
        """The state before the first token, for encoded (B, T, D) of the given lengths (B,)."""
        return self.stack.start(encoded, lengths)

    def forward(self, encoded: Tensor, lengths: Tensor, tokens: Tensor) -> Tensor:
        """Teacher forcing: tokens (B, U), the first one the boundary -> logits (B, U, V) of the tokens after them."""
        return self.out(self.stack(self.embedding(tokens), self.start(encoded, lengths)))

    def step(self, tokens: Tensor, state: TransformerState) -> Tensor:
        """One more token of each hypothesis, (B, K) -> log probabilities (B, K, V) of the next one."""
        return log_softmax(self.packed_out(self.stack.step(self.embedding(tokens), state)))


def log_softmax(logits: Tensor) -> Tensor:
    """Log probabilities over the last axis, in single precision or better."""
    return logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
