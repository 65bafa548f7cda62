"""The active level: the power of speech while there is some."""

import numpy as np
import pytest

from sepasr_cli.datasets.speech_level import active_level
from sepasr_cli.errors import SepasrError


def decibels(power: float) -> float:
    return 10 * np.log10(power)


def test_steady_sound_has_its_power() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(4 * 8000)
    assert decibels(active_level(noise, 8000)) == pytest.approx(-20, abs=0.15)


def test_silence_does_not_count() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(4 * 8000)
    padded = np.concatenate([np.zeros(3 * 8000), noise, np.zeros(5 * 8000)])
    assert decibels(np.mean(padded**2)) < -24
    # The hangover of a fifth of a second counts as speech.
    assert decibels(active_level(padded, 8000)) == pytest.approx(-20 - 10 * np.log10(4.2 / 4), abs=0.2)


@pytest.mark.parametrize("gain", [0.01, 0.37, 3.0])
def test_it_follows_the_gain(gain: float) -> None:
    draw = np.random.default_rng(1)
    speech = np.repeat(draw.random(40), 800) * draw.standard_normal(32000)
    assert decibels(active_level(gain * speech, 8000)) == pytest.approx(
        decibels(active_level(speech, 8000)) + 20 * np.log10(gain), abs=0.1
    )


def test_silence_has_none() -> None:
    with pytest.raises(SepasrError, match="silent"):
        active_level(np.zeros(100), 8000)
