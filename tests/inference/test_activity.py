"""Speech is found where it is, whatever the pieces, the noise and the other stream's leakage."""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_closing

from sepasr_cli import audio
from sepasr_cli.corpora import an4
from sepasr_cli.inference.activity import Activity, Span

RATE = 16000
DATA = Path(os.environ.get("SEPASR_TEST_DATA", Path(__file__).parents[2].parent / "shared/data"))


def found(signals: np.ndarray, piece: int = 16 * RATE, longest: float = 20.0) -> list[Span]:
    activity = Activity(len(signals), RATE, longest)
    spans = []
    for start in range(0, signals.shape[1], piece):
        needed = activity.needed
        new = activity.push(signals[:, start : start + piece])
        assert all(span.first >= needed for span in new)
        assert activity._products.shape[2] <= (60 + 2 * longest) * 50 + piece // activity.frame
        spans += new
    return sorted(spans + activity.finish(), key=lambda span: (span.start, span.stream))


def burst(draw: np.random.Generator, seconds: float) -> np.ndarray:
    level = draw.uniform(0.05, 1, round(10 * seconds))
    level[[0, -1]] = 1
    level = np.repeat(level, RATE // 10)
    return 0.1 * level * draw.standard_normal(len(level))


def test_the_pieces_do_not_change_what_is_found_much() -> None:
    draw = np.random.default_rng(0)
    signals = 1e-4 * draw.standard_normal((2, 60 * RATE))
    for stream, start in ((0, 2), (1, 8), (0, 15), (1, 22), (0, 31), (1, 40), (0, 52)):
        signals[stream, start * RATE :][: 5 * RATE] += burst(draw, 5)
    whole = found(signals, 60 * RATE)
    assert [(span.stream, round(span.start / RATE)) for span in whole] == [
        (0, 2), (1, 8), (0, 15), (1, 22), (0, 31), (1, 40), (0, 52),
    ]  # fmt: skip
    for piece in (RATE // 3, 7 * RATE, 16 * RATE):
        spans = found(signals, piece)
        assert [span.stream for span in spans] == [span.stream for span in whole]
        for one, other in zip(spans, whole, strict=True):
            assert abs(one.start - other.start) < 0.1 * RATE and abs(one.end - other.end) < 0.1 * RATE


def test_spans_have_silence_around_them_but_share_none() -> None:
    draw = np.random.default_rng(0)
    signals = np.zeros((1, 10 * RATE))
    signals[0, RATE : 3 * RATE] = burst(draw, 2)
    signals[0, round(3.6 * RATE) : 5 * RATE] = burst(draw, 1.4)
    one, two = found(signals)
    assert one.start / RATE == pytest.approx(1, abs=0.06) and two.end / RATE == pytest.approx(5, abs=0.06)
    assert one.first == one.start - 0.2 * RATE and two.last == two.end + 0.2 * RATE
    assert one.last <= two.first


def test_pauses_within_a_sentence_part_nothing_and_clicks_are_no_speech() -> None:
    draw = np.random.default_rng(0)
    signals = np.zeros((1, 10 * RATE))
    signals[0, RATE : 3 * RATE] = burst(draw, 2)
    signals[0, round(3.3 * RATE) : round(4.3 * RATE)] = burst(draw, 1)
    signals[0, 7 * RATE : 7 * RATE + 100] = 0.5
    assert [(round(span.start / RATE, 1), round(span.end / RATE, 1)) for span in found(signals)] == [(1.0, 4.3)]


def test_what_is_too_long_is_cut_where_it_is_quietest() -> None:
    draw = np.random.default_rng(0)
    signals = burst(draw, 50)[None]
    signals[0, 7 * RATE : round(7.2 * RATE)] *= 0.01
    spans = found(signals, longest=10)
    assert spans[0].end / RATE == pytest.approx(7.1, abs=0.1)
    assert all(span.end - span.start <= 10 * RATE for span in spans)
    assert all(before.last == after.first for before, after in pairwise(spans))
    assert spans[0].start == 0 and spans[-1].last == 50 * RATE


@pytest.mark.parametrize("level", [0.0, 1e-6, 0.01, 0.3])
def test_steady_noise_is_no_speech(level: float) -> None:
    assert found(level * np.random.default_rng(0).standard_normal((2, 30 * RATE))) == []


def test_a_recording_without_pauses_is_speech_throughout() -> None:
    draw = np.random.default_rng(0)
    spans = found(np.stack([burst(draw, 4), burst(draw, 4)]))
    for stream in range(2):
        own = [span for span in spans if span.stream == stream]
        assert sum(span.end - span.start for span in own) > 0.95 * 4 * RATE


def test_less_than_a_frame_is_nothing() -> None:
    assert found(np.ones((2, 3), np.float32)) == []
    assert Activity(2, RATE, 20).finish() == []


@pytest.mark.filterwarnings("error")
def test_digital_silence_after_speech() -> None:
    """A running mean of energies leaves a trace in it, which may be below zero."""
    draw = np.random.default_rng(0)
    signals = np.zeros((2, 6 * RATE), np.float32)
    signals[0, : 3 * RATE], signals[1, : 2 * RATE] = burst(draw, 3), 1e-3 * burst(draw, 2)
    assert all(span.end < 3.2 * RATE for span in found(signals))


def speech(speaker: str, count: int) -> list[np.ndarray]:
    """Utterances of AN4 at one level."""
    config = an4.AN4(path=DATA / "an4", speakers=[speaker])
    parts = [audio.read(utterance.audio)[0][0] for utterance in an4.read(config)[:count]]
    return [0.05 * part / part.std() for part in parts]


def truth(clean: np.ndarray) -> np.ndarray:
    """Which hundredths of a second of a clean signal (N,) hold speech, pauses below half a second included."""
    energy = np.convolve(np.square(clean), np.ones(800) / 800, mode="same")[: len(clean) // 160 * 160 : 160]
    return binary_closing(energy > np.quantile(energy, 0.99) * 10**-2.3, np.ones(50))


@pytest.mark.skipif(not (DATA / "an4").is_dir(), reason="needs AN4")
@pytest.mark.parametrize("leakage_db", [-60, -20, -13])
@pytest.mark.parametrize("snr_db", [15, 25, 40])
def test_real_speech_is_found_at_its_times(leakage_db: float, snr_db: float) -> None:
    """Two speakers of AN4, one after the other and at once, with noise and each other's leakage."""
    draw = np.random.default_rng(0)
    clean = np.zeros((2, 100 * RATE))
    at = RATE
    for number, pair in enumerate(zip(speech("fjmd", 6), speech("mtcv", 6), strict=True)):
        for speaker, sound in enumerate(pair):
            clean[speaker, at : at + len(sound)] += sound
            at += len(sound) // 2 if speaker == 0 and number % 2 else len(sound) + RATE
    clean = clean[:, : at + RATE]
    leaking = clean + 10 ** (leakage_db / 20) * clean[::-1]
    spans = found(leaking + 0.05 * 10 ** (-snr_db / 20) * draw.standard_normal(clean.shape))
    for speaker in range(2):
        wanted = truth(clean[speaker])
        got = np.zeros_like(wanted)
        for span in spans:
            if span.stream == speaker:
                got[span.start // 160 : span.end // 160] = True
        missed, more = (wanted & ~got).sum() / wanted.sum(), (got & ~wanted).sum() / wanted.sum()
        assert missed < 0.1
        assert more < 0.12
