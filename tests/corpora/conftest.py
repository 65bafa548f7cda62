"""Tiny audio for miniature corpora."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

#: Makes a file of noise: `tone(path, seconds=0.1, sample_rate=16000, channels=1)`.
Tone = Callable[..., Path]


@pytest.fixture
def tone() -> Tone:
    def make(path: Path, seconds: float = 0.1, sample_rate: int = 16000, channels: int = 1) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = np.random.default_rng(0).uniform(-0.5, 0.5, (round(seconds * sample_rate), channels))
        if path.suffix in (".sph", ".wv1"):
            soundfile.write(str(path), samples, sample_rate, format="NIST", subtype="PCM_16")
        else:
            soundfile.write(str(path), samples, sample_rate)
        return path

    return make
