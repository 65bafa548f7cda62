"""Separation in overlapping windows, put together so that each speaker stays in one stream.

Letters: B batch, S speaker, M microphone, N sample. A separator may give its speakers in another order for every
window. Each window is therefore put in order before it is joined to the streams so far: by its similarity to them
over the samples that both cover, or, where these are silent or tell nothing, by the speakers' voices. Windows put in
order by what they share are faded into each other; all others are cut together where it is quietest, never averaged.

Recordings come in blocks and leave in pieces: memory holds a few windows, whatever the length.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from sepasr_cli.audio import Audio
from sepasr_cli.inference.voices import Voices

#: Mixtures (B, M, N) to the speakers' signals (B, S, N).
Separate = Callable[[Tensor], Tensor]

#: An order counts as found where it is better than the second best by this share of the energy compared.
DECISIVE = 0.2
#: The same of the squared distances between voices.
VOICES_DECISIVE = 0.1
#: A shared part counts as silent where its loudest moment is so far below the speech before it: 15 dB.
SILENT_BELOW = 10**-1.5


@dataclass(frozen=True)
class Join:
    """How a window was joined to the streams before it.

    `order` is the window's output for each stream; `by` says what told it ("neither": the order that fits best was
    taken); `confidence`, 0 to 1, is by how much this order was better than the second best.
    """

    start: int
    order: tuple[int, ...]
    by: Literal["overlap", "voices", "neither"]
    confidence: float


@dataclass(frozen=True)
class Piece:
    """Signals (S, n) that are final, from sample `start` on; `join` is None for the first window."""

    start: int
    signals: Tensor
    join: Join | None = None


def stitched(
    separate: Separate,
    blocks: Iterable[Audio],
    window: int,
    overlap: int,
    batch: int = 1,
    voices: Voices | None = None,
) -> Iterator[Piece]:
    """Separate a recording of any length; one no longer than a window is separated whole.

    Args:
        separate: the separator.
        blocks: the recording, in pieces (M, n) that follow each other.
        window: samples of a window.
        overlap: samples that neighbouring windows share at least, fewer than a window.
        batch: windows separated at once.
        voices: what tells speakers apart where windows share nothing that does.

    Yields:
        The speakers' signals in pieces that follow each other, each as soon as it is final.
    """
    held = Piece(0, torch.empty(0, 0))
    for start, streams in _separated(separate, windows(blocks, window, overlap), batch):
        if held.signals.numel() == 0:
            held = Piece(start, streams)
            continue
        final, shared = held.signals[:, : start - held.start], held.signals[:, start - held.start :]
        yield Piece(held.start, final, held.join)
        if voices is not None:
            voices.hear(final)
        join = in_order(shared, streams, start, voices)
        streams = streams[list(join.order)]
        size = shared.shape[1]
        merge = crossfade if join.by == "overlap" else cut
        streams = torch.cat([merge(shared, streams[:, :size]), streams[:, size:]], dim=1)
        held = Piece(start, streams, join)
    if held.signals.numel():
        yield held


def windows(blocks: Iterable[Audio], size: int, overlap: int) -> Iterator[tuple[int, Audio]]:
    """Windows (M, size) of a recording, each with its first sample; a shorter recording is one window.

    The last window ends with the recording and may share more than `overlap` with the one before.

    >>> [start for start, _ in windows([np.zeros((1, 9)), np.zeros((1, 16))], 10, 4)]
    [0, 6, 12, 15]
    """
    assert 0 < overlap < size, (overlap, size)
    step = size - overlap
    held: Audio | None = None
    first = start = 0
    for block in blocks:
        held = block if held is None else np.concatenate([held, block], axis=1)
        while first + held.shape[1] > start + size:
            yield start, held[:, start - first : start - first + size]
            start += step
            # The last window may begin up to a step before the next one would.
            held, first = held[:, max(start - step - first, 0) :], max(start - step, first)
    if held is not None:
        yield first + max(held.shape[1] - size, 0), held[:, -size:]


def in_order(known: Tensor, streams: Tensor, start: int = 0, voices: Voices | None = None) -> Join:
    """The order of `streams` (S, N) that continues those of `known` (S, n), which covers their first n samples.

    The order with the largest sum of inner products is the one with the smallest squared difference.
    """
    shared = streams[:, : known.shape[1]]
    order, margin = _best_order((known.double() @ shared.double().T).cpu().numpy())
    energy = float(known.double().square().sum() + shared.double().square().sum()) / 2
    confidence = min(margin / energy, 1.0) if energy > 0 else 0.0
    silent = voices is not None and voices.loudest(known) < SILENT_BELOW * voices.level
    if confidence >= DECISIVE and not silent:
        return Join(start, order, "overlap", confidence)
    if voices is not None and (distances := voices.distances(streams)) is not None:
        nearest, margin = _best_order(-distances)
        if margin >= VOICES_DECISIVE:
            return Join(start, nearest, "voices", min(margin, 1.0))
    return Join(start, order, "neither", confidence)


def crossfade(before: Tensor, after: Tensor) -> Tensor:
    """From one signal (S, n) to the other by a straight line, for what is known to be the same."""
    rise = torch.linspace(0, 1, before.shape[1] + 2, dtype=after.dtype, device=after.device)[1:-1]
    return rise * after + (1 - rise) * before


def cut(before: Tensor, after: Tensor, frame: int = 256) -> Tensor:
    """From one signal (S, n) to the other at once, in the middle of the quietest `frame` samples."""
    energy = (before.square() + after.square()).sum(0)
    if len(energy) <= frame:
        return after
    total = torch.nn.functional.avg_pool1d(energy[None, None], frame, stride=1)[0, 0]
    at = int(total.argmin()) + frame // 2
    return torch.cat([before[:, :at], after[:, at:]], dim=1)


def _best_order(similarity: np.ndarray) -> tuple[tuple[int, ...], float]:
    """The order of columns with the largest sum along the rows, and by how much it beats the second best."""
    rows = range(len(similarity))
    sums = {order: float(similarity[rows, order].sum()) for order in permutations(rows)}
    # Among equals the first, which changes nothing, stays.
    order = max(sums, key=lambda one: sums[one])
    second = max((value for other, value in sums.items() if other != order), default=-np.inf)
    return order, sums[order] - second if len(sums) > 1 else np.inf


def _separated(separate: Separate, mixtures: Iterable[tuple[int, Audio]], batch: int) -> Iterator[tuple[int, Tensor]]:
    """Every window's first sample and its streams (S, N), `batch` windows separated at once."""
    group: list[tuple[int, Audio]] = []
    for mixture in mixtures:
        group.append(mixture)
        if len(group) == batch:
            yield from _separate_group(separate, group)
            group = []
    if group:
        yield from _separate_group(separate, group)


def _separate_group(separate: Separate, group: list[tuple[int, Audio]]) -> Iterator[tuple[int, Tensor]]:
    streams = separate(torch.from_numpy(np.stack([mixture for _, mixture in group])))
    yield from zip((start for start, _ in group), streams, strict=True)
