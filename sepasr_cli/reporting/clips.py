"""Sound for a page: short, compressed, and small enough together."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from sepasr_cli import audio
from sepasr_cli.errors import SepasrError

#: Every browser plays MP3; these are its sample rates.
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
#: Characters of all clips together, which keeps a page below 25 MB.
BUDGET = 22_000_000
#: Bytes of MP3 that a second takes at most, at 16 kHz; more or less in proportion at other rates.
BYTES_A_SECOND = 10_000
SHORTEST, LONGEST = 3.0, 120.0


def seconds_each(clips: int, sample_rate: int) -> float:
    """How long each of so many clips may be.

    >>> seconds_each(20 * 5, 16000), seconds_each(1, 16000)
    (16.5, 120.0)
    """
    # Four characters for three bytes.
    fitting = BUDGET * 0.75 / max(clips, 1) / (BYTES_A_SECOND * sample_rate / 16000)
    return min(max(fitting, SHORTEST), LONGEST)


def read_channel(path: Path, channel: int, seconds: float) -> tuple[NDArray[np.float32], int, bool]:
    """One channel of a file's first seconds, or the only one, (N,), the sample rate, and whether the file is longer.

    Raises:
        SepasrError: where there is no such file or channel, or the audio is damaged.
    """
    header = audio.info(path)
    if 1 < header.channels <= channel:
        raise SepasrError(f"{path}: {header.channels} channels found, number {channel + 1} expected")
    samples, rate = audio.read(path, 0.0, min(seconds, header.duration))
    return audio.channel(samples, channel), rate, header.duration > seconds


def encode(samples: NDArray[np.floating], sample_rate: int) -> str:
    """MP3 of a signal (N,), in base 64; rates that MP3 has not are raised to the next one that it has."""
    rate = next((known for known in MP3_RATES if known >= sample_rate), MP3_RATES[-1])
    sound = np.clip(audio.resample(samples, sample_rate, rate), -1.0, 1.0)
    written = io.BytesIO()
    soundfile.write(written, sound, rate, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.0)
    return base64.b64encode(written.getvalue()).decode("ascii")


def full_scale(samples: Sequence[float] | NDArray[np.floating]) -> float:
    """The share of samples in runs of three or more at 0.99 of full scale or above, which only clipping makes.

    >>> full_scale([0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.5, 0.0])
    0.375
    """
    loud = np.abs(np.asarray(samples)) >= 0.99
    edges = np.flatnonzero(np.diff(np.concatenate([[False], loud, [False]]).astype(np.int8)))
    lengths = edges[1::2] - edges[::2]
    return float(lengths[lengths >= 3].sum() / max(len(loud), 1))
