"""Batches by number: what a training step sees depends on the seed and its number alone."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from math import ceil
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

from sepasr_cli import audio
from sepasr_cli.randomness import generator

Samples = NDArray[np.float32]
Item = TypeVar("Item")

#: Marks the end of a target shorter than its batch's longest.
PADDING = -1


class Movable:
    """A batch that goes to a device as a whole."""

    def to(self, device: torch.device) -> Self:
        """The same batch with its tensors on `device`."""
        moved = {item.name: getattr(self, item.name) for item in fields(self)}  # type: ignore[arg-type]
        return type(self)(
            **{key: value.to(device) if isinstance(value, Tensor) else value for key, value in moved.items()}
        )


class Schedule:
    """Which examples make up batch number n: every example once an epoch, in an order drawn for the epoch.

    With `bucket`, examples of like length come together, so that little is padded.

    >>> schedule = Schedule([1.0, 2.0, 3.0, 4.0], batch_size=2, seed=0)
    >>> sorted(schedule(0)[1] + schedule(1)[1]), schedule(5)[0]
    ([0, 1, 2, 3], 2)
    """

    def __init__(self, durations: Sequence[float], batch_size: int, seed: int, bucket: bool = True) -> None:
        self.durations, self.batch_size, self.seed, self.bucket = durations, batch_size, seed, bucket
        self.batches_an_epoch = ceil(len(durations) / batch_size)
        self._drawn: tuple[int, list[list[int]]] | None = None

    def __call__(self, number: int) -> tuple[int, list[int]]:
        """The epoch of a batch, and the indices of its examples."""
        epoch, position = divmod(number, self.batches_an_epoch)
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = epoch, self._draw(epoch)
        return epoch, self._drawn[1][position]

    def _draw(self, epoch: int) -> list[list[int]]:
        rng = generator(self.seed, "epoch", epoch)
        order = [int(index) for index in rng.permutation(len(self.durations))]
        if self.bucket:
            pool = 20 * self.batch_size
            pools = [order[start : start + pool] for start in range(0, len(order), pool)]
            order = [index for part in pools for index in sorted(part, key=lambda index: self.durations[index])]
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        return [batches[int(index)] for index in rng.permutation(len(batches))]


def by_length(items: Iterable[Item], length: Callable[[Item], float], batch_size: int) -> list[list[Item]]:
    """Items in parts of `batch_size`, those of like length together, the shortest first.

    >>> by_length(["four", "a", "two"], len, batch_size=2)
    [['a', 'two'], ['four']]
    """
    order = sorted(items, key=length)
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def change_speed(signal: Samples, speed: float) -> Samples:
    """Play a signal faster or slower, pitch and all; `speed` is rounded to hundredths."""
    return signal if speed == 1.0 else audio.resample(signal, round(100 * speed), 100)


def pad(arrays: Sequence[Samples]) -> Samples:
    """Stack arrays (..., N) of different lengths, with zeros at their ends."""
    longest = max(array.shape[-1] for array in arrays)
    return np.stack(
        [np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, longest - array.shape[-1])]) for array in arrays]
    ).astype(np.float32)


def pad_tokens(tokens: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids of each example as targets (B, U), with `PADDING` at their ends, and their lengths (B,)."""
    lengths = torch.tensor([len(ids) for ids in tokens])
    targets = torch.full((len(tokens), max(int(lengths.max()), 1)), PADDING)
    for row, ids in zip(targets, tokens, strict=True):
        row[: len(ids)] = torch.tensor(ids, dtype=torch.long)
    return targets, lengths
