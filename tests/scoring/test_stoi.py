"""STOI and ESTOI are pystoi's at every sample rate, with pauses, for several estimates at once."""

import numpy as np
import pytest
from pystoi import stoi as pystoi
from pystoi.utils import resample_oct

from sepasr_cli.scoring import stoi


@pytest.mark.parametrize("rate", [8000, 10000, 16000, 44100])
def test_values_are_pystois(rate: int) -> None:
    draw = np.random.default_rng(rate)
    level = np.repeat(draw.random(40) * (draw.random(40) > 0.3), rate // 20)
    reference = level * draw.standard_normal(2 * rate)
    estimates = reference + np.array([[0.05], [0.5], [5.0]]) * draw.standard_normal((3, 2 * rate))
    segments = stoi.envelopes(stoi.resample(reference[None], rate)[0], stoi.resample(estimates, rate))
    assert segments is not None
    for measure, extended in ((stoi.stoi, False), (stoi.estoi, True)):
        theirs = [pystoi(reference, one, rate, extended=extended) for one in estimates]
        assert np.allclose(measure(segments), theirs, atol=1e-9)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("samples", [1, 63, 4001])
def test_resampling_is_pystois(rate: int, samples: int) -> None:
    signals = np.random.default_rng(samples).standard_normal((2, samples))
    theirs = np.stack([resample_oct(one, stoi.RATE, rate) for one in signals])
    assert np.allclose(stoi.resample(signals, rate), theirs, atol=1e-12)


def test_a_silent_estimate_is_not_intelligible() -> None:
    reference = np.random.default_rng(0).standard_normal(10000)
    segments = stoi.envelopes(reference, np.zeros((1, 10000)))
    assert segments is not None
    assert stoi.stoi(segments) == pytest.approx(pystoi(reference, np.zeros(10000), 10000), abs=1e-9)
    assert stoi.estoi(segments) == 0


@pytest.mark.parametrize("samples", [0, 99, 256, 257, 4000])
def test_too_little_speech_has_no_value(samples: int) -> None:
    reference = np.random.default_rng(0).standard_normal(samples)
    assert stoi.envelopes(reference, reference[None]) is None
