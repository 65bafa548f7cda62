"""Noise at the microphones of an array. Letters: M microphone, N sample, F frequency."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from sepasr_cli import audio
from sepasr_cli.audio import Audio
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import inside
from sepasr_cli.manifest import Noise
from sepasr_cli.simulation.config import SPEED_OF_SOUND

#: Frequencies at which the coherence of a diffuse field is worked out; between them it is interpolated.
_GRID = 257


def make_noise(
    noise: Noise,
    rng: np.random.Generator,
    microphones: NDArray[np.floating],
    length: int,
    sample_rate: int,
    folder: Path | None = None,
) -> Audio:
    """Noise of shape (M, N) at microphones (M, 3) in metres, of no particular level.

    Raises:
        SepasrError: where the recording it names cannot be read or is silent.
    """
    count = len(microphones)
    if noise.kind == "white":
        return rng.standard_normal((count, length), dtype=np.float32)
    if noise.kind == "diffuse":
        independent = rng.standard_normal((count, length), dtype=np.float32)
        return spread(independent, microphones, sample_rate, _speech_spectrum)
    if folder is None or noise.file is None:
        raise SepasrError("noise of kind 'folder' without a folder or file; set simulation.noise.path")
    path = inside(folder, noise.file)
    header = audio.info(path)
    if header.channels >= count:
        result = _read_around(path, noise.offset, count, length, sample_rate)
    else:
        # Parts of one recording far from each other are as good as independent, and alike in spectrum.
        offsets = [noise.offset + place * header.duration / count for place in range(count)]
        cuts = [_read_around(path, offset, 1, length, sample_rate) for offset in offsets]
        result = spread(np.concatenate(cuts), microphones, sample_rate)
    if not result.any():
        raise SepasrError(
            f"{path}: silent from {noise.offset:.1f} s for {length / sample_rate:.1f} s; leave this recording out"
        )
    return result


def spread(
    independent: Audio,
    microphones: NDArray[np.floating],
    sample_rate: int,
    shape: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None,
) -> Audio:
    """Turn M independent signals (M, N) into a spherically isotropic field at M microphones (M, 3).

    The coherence of two microphones d metres apart is sin(x)/x, x = 2 pi f d / c (Cook et al. 1955); the signals are
    mixed by the symmetric root of the coherence matrix at each frequency (Habets, Cohen, Gannot 2008 take Cholesky's).
    `shape`, a function of frequencies in Hz, weights the spectrum.
    """
    length = independent.shape[-1]
    padded = fft.next_fast_len(length, real=True)
    spectrum = fft.rfft(independent, padded)
    frequencies = fft.rfftfreq(padded, 1 / sample_rate).astype(np.float32)
    mixing = _coherence_root(microphones, sample_rate, frequencies)
    if shape is not None:
        mixing *= shape(frequencies)[:, None, None]
    mixed = np.einsum("fij,jf->if", mixing, spectrum)
    return fft.irfft(mixed, padded)[:, :length]


def _coherence_root(
    microphones: NDArray[np.floating], sample_rate: int, frequencies: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(F, M, M), interpolated from a grid on which it is smooth: it turns over once in c / d Hz."""
    distances = np.linalg.norm(microphones[:, None] - microphones[None], axis=-1)
    grid = np.linspace(0, sample_rate / 2, _GRID)
    coherence = np.sinc(2 * grid[:, None, None] * distances / SPEED_OF_SOUND)
    values, vectors = np.linalg.eigh(coherence)
    roots = ((vectors * np.sqrt(np.maximum(values, 0))[:, None]) @ vectors.transpose(0, 2, 1)).astype(np.float32)
    position = frequencies / (sample_rate / 2) * (_GRID - 1)
    below = np.minimum(position.astype(int), _GRID - 2)
    weight = (position - below).astype(np.float32)[:, None, None]
    return roots[below] * (1 - weight) + roots[below + 1] * weight


def _speech_spectrum(frequencies: NDArray[np.float32]) -> NDArray[np.float32]:
    """Amplitudes falling by 9 dB an octave above 500 Hz, about the long-term average of speech (Byrne et al. 1994)."""
    low_cut = frequencies**2 / (frequencies**2 + 80.0**2)
    return (low_cut / np.sqrt(1 + (frequencies / 500.0) ** 3)).astype(np.float32)


def _read_around(path: Path, offset: float, channels: int, length: int, sample_rate: int) -> Audio:
    """`length` samples of the first `channels` from `offset` seconds on, from the beginning again at the file's end."""
    header = audio.info(path)
    rate = header.sample_rate
    left = -(-length * rate // sample_rate)
    first = round(offset * rate) % header.frames
    pieces = []
    while left > 0:
        last = min(first + left, header.frames)
        piece, _ = audio.read(path, first / rate, last / rate)
        pieces.append(piece[:channels])
        left -= last - first
        first = 0
    return audio.resample(np.concatenate(pieces, axis=1), rate, sample_rate)[:, :length]
