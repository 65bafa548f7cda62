"""Which frames belong to which token of a text: CTC forced alignment (Graves et al. 2006, section 4.1 with max for sum).

Letters: T frame, U token, V vocabulary, P state (blank, token, blank, ..., token, blank: 2U + 1 of them).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sepasr_cli.recognition.tokens import BLANK_ID

Array = NDArray[np.floating]


class Span(NamedTuple):
    """The frames of a token, the last one included, and its highest probability in them."""

    first: int
    last: int
    probability: float


def align(log_probs: Array, tokens: Sequence[int]) -> list[Span] | None:
    """The most probable path through the frames that says just these tokens, as a span for each token.

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
        probability = float(np.exp(log_probs[frames, token].max()))
        spans.append(Span(int(frames[0]), int(frames[-1]), min(probability, 1.0)))
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
