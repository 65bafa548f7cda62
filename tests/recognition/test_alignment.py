"""The best path is the best of all paths; word edges are where the sound is, to 10 ms."""

from itertools import groupby, product

import numpy as np
import pytest

from sepasr_cli.recognition.alignment import LEVELS, Span, align, levels, word_edges

RATE = 8000


def brute_force(log_probs: np.ndarray, tokens: list[int]) -> tuple[int, ...] | None:
    """The most probable of all sequences of frame labels that collapse to the tokens."""
    frames, size = log_probs.shape
    fitting = [
        path
        for path in product(range(size), repeat=frames)
        if [label for label, _ in groupby(path) if label != 0] == tokens
    ]
    return max(fitting, key=lambda path: log_probs[range(frames), path].sum(), default=None)


def spans_of(path: tuple[int, ...]) -> list[tuple[int, int]]:
    runs = [(label, [at for at, _ in group]) for label, group in groupby(enumerate(path), key=lambda pair: pair[1])]
    return [(frames[0], frames[-1]) for label, frames in runs if label != 0]


@pytest.mark.parametrize("tokens", [[1], [1, 2], [1, 1], [2, 1, 2], [2, 2, 1], [1, 1, 1]])
@pytest.mark.parametrize("frames", [1, 2, 3, 5, 7])
def test_the_best_path_is_the_best_of_all(tokens: list[int], frames: int) -> None:
    for seed in range(3):
        scores = np.random.default_rng(seed).standard_normal((frames, 3)) * 3
        log_probs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
        best = brute_force(log_probs, tokens)
        found = align(log_probs, tokens)
        if best is None:
            assert found is None
            continue
        assert found is not None
        assert [(span.first, span.last) for span in found] == spans_of(best)
        assert [span.log_probability for span in found] == [
            log_probs[span.first : span.last + 1, token].max() for span, token in zip(found, tokens, strict=True)
        ]


def test_nothing_said_takes_no_frame() -> None:
    assert align(np.zeros((3, 4)), []) == []
    certain = np.log([[0.1, 0.9], [0.9, 0.1]])
    assert align(certain, [1]) == [Span(0, 0, np.log(0.9))]


def sounding(*parts: tuple[float, float, float], duration: float = 2.0) -> np.ndarray:
    """Noise at -60 dB, with louder noise from second to second at a level of its own."""
    draw = np.random.default_rng(0)
    signal = 1e-3 * draw.standard_normal(round(duration * RATE))
    for start, end, level in parts:
        where = slice(round(start * RATE), round(end * RATE))
        signal[where] += level * draw.standard_normal(where.stop - where.start)
    return signal


@pytest.mark.parametrize(
    ("parts", "spikes", "edges"),
    [
        ([(0.5, 0.8, 0.1)], [(0.6, 0.7)], [(0.5, 0.8)]),
        # A pause between two words belongs to neither.
        ([(0.5, 0.8, 0.1), (1.2, 1.5, 0.1)], [(0.7, 0.75), (1.4, 1.4)], [(0.5, 0.8), (1.2, 1.5)]),
        # The closure of a plosive before the first spike, and after the last one, is part of the word.
        ([(0.5, 0.6, 0.1), (0.7, 0.9, 0.1), (1.0, 1.05, 0.1)], [(0.8, 0.85)], [(0.5, 1.05)]),
        # Of two silences between two words the longer one is the border.
        ([(0.3, 0.5, 0.1), (0.54, 0.6, 0.1), (0.7, 1.0, 0.1)], [(0.4, 0.4), (0.9, 0.9)], [(0.3, 0.6), (0.7, 1.0)]),
        # The closure of a plosive parts no words: one ends a third of the way between the spikes.
        ([(0.3, 0.6, 0.1), (0.66, 1.0, 0.1)], [(0.4, 0.4), (0.9, 0.9)], [(0.3, 0.57), (0.57, 1.0)]),
        # The signal ends within the word.
        ([(0.0, 0.4, 0.1), (1.5, 2.0, 0.1)], [(0.1, 0.2), (1.9, 1.95)], [(0.0, 0.4), (1.5, 2.0)]),
    ],
)
def test_words_are_where_the_sound_is(
    parts: list[tuple[float, float, float]], spikes: list[tuple[float, float]], edges: list[tuple[float, float]]
) -> None:
    found = word_edges(spikes, sounding(*parts), RATE)
    assert np.allclose(found, edges, atol=0.5 / LEVELS)


@pytest.mark.parametrize("signal", [np.zeros(RATE), np.ones(RATE), np.random.default_rng(0).standard_normal(RATE + 3)])
def test_edges_are_in_order_and_inside_whatever_the_signal(signal: np.ndarray) -> None:
    spikes = [(0.0, 0.0), (0.0, 0.2), (0.21, 0.9), (0.9, 1.1)]
    flat = np.ravel(word_edges(spikes, signal, RATE))
    assert len(flat) == 8 and (np.diff(flat) >= 0).all()
    assert flat[0] >= 0 and flat[-1] <= len(signal) / RATE
    assert word_edges([], signal, RATE) == []


def test_levels_are_decibels() -> None:
    assert np.allclose(levels(np.full(RATE // 10, 0.1), RATE), -20)
