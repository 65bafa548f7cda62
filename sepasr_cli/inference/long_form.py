"""Separation in overlapping windows, put together so that each speaker stays in one stream.

Letters: B batch, S speaker, M microphone, N sample. A separator may give its speakers in another order for every
window. Each window is therefore put in order by its similarity to the streams so far, over the samples that both
cover, before the two are faded into each other; windows of unknown order are never averaged.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

#: Mixtures (B, M, N) to the speakers' signals (B, S, N).
Separate = Callable[[Tensor], Tensor]


def separate_long(separate: Separate, mixture: Tensor, window: int, overlap: int, batch: int = 1) -> Tensor:
    """Separate a recording of any length; one no longer than a window is separated whole.

    Args:
        separate: the separator.
        mixture: shape (M, N).
        window: samples of a window.
        overlap: samples that neighbouring windows share at least, fewer than a window.
        batch: windows separated at once.

    Returns:
        Shape (S, N).
    """
    return torch.cat(list(stitched(separate, mixture, window, overlap, batch)), dim=-1)


def stitched(separate: Separate, mixture: Tensor, window: int, overlap: int, batch: int = 1) -> Iterator[Tensor]:
    """As `separate_long`, in pieces of shape (S, n) that follow each other, each as soon as it is final."""
    starts = window_starts(mixture.shape[-1], window, overlap)
    pending: Tensor | None = None
    for start, after, streams in _separated(separate, mixture, starts, window, batch):
        if pending is not None:
            shared = pending.shape[-1]
            streams = in_order_of(pending, streams[:, :shared], streams)
            rise = torch.linspace(0, 1, shared + 2, dtype=streams.dtype, device=streams.device)[1:-1]
            streams[:, :shared] = rise * streams[:, :shared] + (1 - rise) * pending
        final = streams.shape[-1] if after is None else after - start
        yield streams[:, :final]
        pending = streams[:, final:]


def window_starts(samples: int, window: int, overlap: int) -> list[int]:
    """Where windows begin; the last one ends with the recording and may share more than `overlap` with its neighbour.

    >>> window_starts(25, 10, 4)
    [0, 6, 12, 15]
    >>> window_starts(7, 10, 4)
    [0]
    """
    assert 0 < overlap < window, (overlap, window)
    if samples <= window:
        return [0]
    return [*range(0, samples - window, window - overlap), samples - window]


def in_order_of(known: Tensor, shared: Tensor, streams: Tensor) -> Tensor:
    """Reorder `streams` (S, N) so that `shared` (S, n), their part over the samples of `known` (S, n), fits it best.

    The order with the largest sum of inner products is the one with the smallest squared difference. Loud speakers
    decide; where all is silent the order stays.
    """
    similarity = known.double() @ shared.double().T
    _, order = linear_sum_assignment(similarity.cpu().numpy(), maximize=True)
    return streams[torch.as_tensor(order, device=streams.device)]


def _separated(
    separate: Separate, mixture: Tensor, starts: list[int], window: int, batch: int
) -> Iterator[tuple[int, int | None, Tensor]]:
    """Every window's start, that of the next one (None after the last), and its streams (S, N)."""
    following = [*(after for _, after in pairwise(starts)), None]
    for first in range(0, len(starts), batch):
        group = starts[first : first + batch]
        streams = separate(torch.stack([mixture[:, start : start + window] for start in group]))
        yield from zip(group, following[first : first + batch], streams, strict=True)
