"""When each word was said: CTC forced alignment, and from its spikes the edges of words.

CTC says a token in one frame or two, somewhere within its sound or after it, and blank in all others: it tells which
word is where, not where a word begins and ends. The edges are therefore looked for in the signal's level, between the
spikes of two words.

Letters: T frame, U token, V vocabulary, N sample, L level (one for each 10 ms),
P state (blank, token, blank, ..., token, blank: 2U + 1 of them).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sepasr_cli.recognition.tokens import BLANK_ID

Array = NDArray[np.floating]

#: Levels in a second.
LEVELS = 100
#: Between the quietest tenth of a signal and its loudest moments (both in decibels), what is below this share is quiet.
QUIET = 0.3
#: Levels of a silence that parts two words (what is shorter may be the closure of a plosive), and of a sure pause.
SILENCE, PAUSE = 8, 20
#: Where words follow without silence, one ends this share of the way to the next one's spike: a word's first spike lies
#: deeper in its sound than its last one (measured on joined utterances of AN4).
PASSAGE = 1 / 3


class Span(NamedTuple):
    """The frames of a token, the last one included, and the logarithm of its highest probability in them."""

    first: int
    last: int
    log_probability: float


def align(log_probs: Array, tokens: Sequence[int]) -> list[Span] | None:
    """The most probable path through the frames that says just these tokens, as a span for each token.

    That is the best of the paths that CTC sums over (Graves et al. 2006, section 4.1), found exactly (Viterbi).

    Args:
        log_probs: (T, V).
        tokens: (U,), without blanks.

    Returns:
        None where the frames are too few: a token needs one, and one more for the blank between two that are the same.

    >>> certain = np.log(np.full((4, 3), 1e-9))
    >>> certain[range(4), [1, 1, 0, 2]] = 0
    >>> [(span.first, span.last) for span in align(certain, [1, 2])]
    [(0, 1), (3, 3)]
    """
    wanted = np.asarray(tokens, np.int64)
    if not len(wanted):
        return []
    if len(log_probs) < len(wanted) + np.count_nonzero(wanted[1:] == wanted[:-1]):
        return None
    states = np.full(2 * len(wanted) + 1, BLANK_ID)
    states[1::2] = wanted
    path = _best_path(log_probs[:, states].astype(np.float64), _may_skip(states))
    spans = []
    for place, token in enumerate(tokens):
        frames = np.flatnonzero(path == 2 * place + 1)
        spans.append(Span(int(frames[0]), int(frames[-1]), float(log_probs[frames, token].max())))
    return spans


def _may_skip(states: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which states (P,) may follow the one before the last: tokens, past the blank, unless the token is the same."""
    allowed = np.zeros(len(states), bool)
    allowed[3::2] = states[3::2] != states[1:-2:2]
    return allowed


def _best_path(scores: Array, may_skip: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The state (T,) of each frame on the best path (Viterbi) through scores (T, P), all states of a frame at once."""
    frames, count = scores.shape
    best = np.full(count, -np.inf)
    best[:2] = scores[0, :2]
    # How many states each best path came up by.
    steps = np.zeros((frames, count), np.int8)
    for frame in range(1, frames):
        came = np.full((3, count), -np.inf)
        came[0] = best
        came[1, 1:] = best[:-1]
        came[2, 2:] = np.where(may_skip[2:], best[:-2], -np.inf)
        steps[frame] = came.argmax(0)
        best = came.max(0) + scores[frame]
    # The last frame is in the last token or in the blank after it.
    state = count - 1 - int(best[-2] > best[-1])
    path = np.empty(frames, np.int64)
    for frame in range(frames - 1, -1, -1):
        path[frame] = state
        state -= int(steps[frame, state])
    return path


def word_edges(spikes: Sequence[tuple[float, float]], signal: Array, sample_rate: int) -> list[tuple[float, float]]:
    """Where words begin and end, in seconds: in order, without overlap, each around its spikes.

    Between two words' spikes lies the end of one and the start of the other. Where there is a pause between them, they
    are its borders; else those of the longest silence; without one, both are a third of the way between the spikes.

    Args:
        spikes: the times of each word's first and last token.
        signal: (N,), of one speaker.
        sample_rate: in Hz.
    """
    if not spikes:
        return []
    # Before and after the signal there is a pause.
    quiet = np.pad(is_quiet(levels(signal, sample_rate)), PAUSE, constant_values=True)
    marks = [(PAUSE + int(first * LEVELS), PAUSE + int(last * LEVELS) + 1) for first, last in spikes]
    gaps = [(0, marks[0][0]), *((end, start) for (_, end), (start, _) in pairwise(marks)), (marks[-1][1], len(quiet))]
    borders = [_borders(quiet, start, end) for start, end in gaps]
    duration = len(signal) / sample_rate
    times = np.clip((np.asarray(borders) - PAUSE) / LEVELS, 0.0, duration)
    return [(float(before[1]), float(after[0])) for before, after in pairwise(times)]


def levels(signal: Array, sample_rate: int) -> Array:
    """Power of each 10 ms of a signal (N,) in decibels, (L,); the last one may be of fewer samples."""
    size = sample_rate // LEVELS
    padded = np.pad(np.asarray(signal, np.float64), (0, -len(signal) % size))
    return 10 * np.log10(np.square(padded).reshape(-1, size).mean(1) + 1e-12)


def is_quiet(level: Array) -> NDArray[np.bool_]:
    """Where levels (L,) in decibels are nearer to the signal's background than to its speech."""
    background, speech = np.percentile(level, (10, 95))
    return level < background + QUIET * (speech - background)


def _borders(quiet: NDArray[np.bool_], start: int, end: int) -> tuple[int, int]:
    """Where between two levels one word ends and the next one begins."""
    changes = np.flatnonzero(np.diff(np.concatenate(([0], quiet[start:end], [0]))))
    silences = [(start + int(first), start + int(last)) for first, last in changes.reshape(-1, 2)]
    silences = [(first, last) for first, last in silences if last - first >= SILENCE]
    if pauses := [(first, last) for first, last in silences if last - first >= PAUSE]:
        return pauses[0][0], pauses[-1][1]
    passage = start + round(PASSAGE * max(end - start, 0))
    return max(silences, key=lambda silence: silence[1] - silence[0], default=(passage, passage))
