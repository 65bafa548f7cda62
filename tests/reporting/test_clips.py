"""Sound for the page."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sepasr_cli.errors import SepasrError
from sepasr_cli.reporting import clips


@pytest.mark.parametrize(("rate", "kept"), [(8000, 8000), (16000, 16000), (20000, 22050), (48000, 48000)])
def test_mp3_at_a_rate_that_it_has(rate: int, kept: int) -> None:
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)
    sound, found = soundfile.read(io.BytesIO(base64.b64decode(clips.encode(tone, rate))))
    assert found == kept and len(sound) == pytest.approx(2 * kept, abs=2)
    spectrum = np.abs(np.fft.rfft(sound))
    assert np.argmax(spectrum) * found / len(sound) == pytest.approx(440, abs=1)


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
def test_twenty_recordings_stay_under_25_mb(rate: int) -> None:
    """Noise is what compresses worst. Two runs of two speakers: seven signals a recording."""
    seconds = clips.seconds_each(20 * 7, rate)
    noise = 0.2 * np.random.default_rng(0).standard_normal(round(3 * rate))
    assert len(clips.encode(noise, rate)) / 3 * seconds * 20 * 7 < 24e6


def test_one_channel_of_the_first_seconds(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([np.full(8000, 0.1), np.full(8000, 0.2)]).T, 8000)
    samples, rate, cut = clips.read_channel(path, 1, 0.5)
    assert (rate, cut, len(samples)) == (8000, True, 4000) and samples[0] == pytest.approx(0.2, abs=1e-4)
    assert clips.read_channel(path, 0, 9)[2] is False
    with pytest.raises(SepasrError, match="2 channels found, number 3 expected"):
        clips.read_channel(path, 2, 9)


def test_full_scale_is_only_what_clipping_makes() -> None:
    tone = np.sin(np.arange(1000) * 0.5)
    assert clips.full_scale(tone) == 0
    assert clips.full_scale(np.clip(1.5 * tone, -1, 1)) > 0.3
    assert clips.full_scale(np.clip(1.5 * tone, -1, 1) / 2) == 0
    assert clips.full_scale([]) == 0
