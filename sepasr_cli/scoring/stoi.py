"""Short-time objective intelligibility, classic and extended, of several estimates of one reference at once.

STOI: Taal et al., 2011 (IEEE/ACM TASLP 19(7)); ESTOI: Jensen and Taal, 2016 (IEEE/ACM TASLP 24(11)). The values are
those of pystoi. What depends on the reference alone is computed once. Letters: K estimate,
N sample, T frame,
I segment, B band, W frame within a segment.
"""

from functools import cache
from math import ceil, gcd

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.fft import rfft

Signal = NDArray[np.float64]

#: The papers' values: rate in Hz, samples of a frame and between frames, FFT, third-octave bands from the lowest
#: centre in Hz, frames of a segment (384 ms), the range of levels in dB that counts as speech, the clipping in dB.
RATE, FRAME, HOP, FFT, BANDS, LOWEST, SEGMENT, RANGE, CLIP = 10000, 256, 128, 512, 15, 150, 30, 40, 15
EPSILON = np.finfo(np.float64).eps


def resample(signals: Signal, sample_rate: int) -> Signal:
    """To the 10 kHz that the measures work at, as Octave does: shape (K, N) becomes (K, ceil(N * 10000 / rate)).

    Each output is a sum over the inputs around it. Blocks of outputs that fall on the inputs alike are one product.
    """
    if sample_rate == RATE:
        return signals
    filters, step, before = _polyphase(sample_rate)
    samples = signals.shape[1]
    blocks = ceil(samples / step)
    width = len(filters)
    padded = np.pad(signals, ((0, 0), (before, blocks * step + width - samples - before)))
    windows = sliding_window_view(padded, width, axis=1)[:, : blocks * step : step]
    return np.asarray((windows @ filters).reshape(len(signals), -1)[:, : ceil(samples * RATE / sample_rate)])


@cache
def _polyphase(sample_rate: int) -> tuple[Signal, int, int]:
    """The filters of a block of outputs, (inputs, outputs), the inputs between blocks, and those before the first.

    A sinc within a Kaiser window, 60 dB down from the lower of the two Nyquist frequencies on.
    """
    up, down = RATE // gcd(RATE, sample_rate), sample_rate // gcd(RATE, sample_rate)
    cutoff = 1 / (2 * max(up, down))
    half = ceil((60 - 8) / (28.714 * cutoff / 10))
    taps = np.kaiser(2 * half + 1, 0.1102 * (60 - 8.7)) * np.sinc(2 * cutoff * np.arange(-half, half + 1))
    taps *= up / taps.sum()
    # Blocks of some dozen inputs make products that are large enough to be fast, and hold few zeros.
    together = max(1, 64 // down)
    before = ceil(half / up)
    inputs = np.arange(-before, together * down + before)[:, None]
    distance = half + np.arange(together * up) * down - inputs * up
    inside = (distance >= 0) & (distance <= 2 * half)
    return np.where(inside, taps[np.where(inside, distance, 0)], 0.0), together * down, before


@cache
def _third_octaves() -> Signal:
    """Which bins of the FFT are in which band, (B, F): the edges are the bins next to a sixth of an octave around."""
    bins = np.arange(FFT // 2 + 1) * RATE / FFT
    edges = LOWEST * 2 ** ((2 * np.arange(BANDS)[:, None] + [-1, 1]) / 6)
    low, high = np.abs(bins - edges[..., None]).argmin(axis=-1).T
    place = np.arange(len(bins))
    return np.asarray((place >= low[:, None]) & (place < high[:, None]), np.float64)


def envelopes(reference: Signal, estimates: Signal) -> Signal | None:
    """Segments of the third-octave bands' envelopes where the reference speaks.

    Args:
        reference: shape (N,), at 10 kHz.
        estimates: shape (K, N).

    Returns:
        Shape (1 + K, I, B, W) with I overlapping segments, the reference first; None where there is not one segment.
    """
    if len(reference) <= FRAME:
        return None
    spoken = _without_silence(np.concatenate([reference[None], estimates]))
    if spoken.shape[1] <= FRAME:
        return None
    spectra = rfft(_frames(spoken) * _WINDOW, FFT)
    if spectra.shape[1] < SEGMENT:
        return None
    bands = np.sqrt((spectra.real**2 + spectra.imag**2) @ _third_octaves().T)
    return sliding_window_view(bands, SEGMENT, axis=1)


def stoi(segments: Signal) -> Signal:
    """Mean correlation of band envelopes, shape (K,); the estimates' are at the clean level and clipped."""
    clean, processed = segments[0], segments[1:]
    level = np.linalg.norm(clean, axis=-1) / (np.linalg.norm(processed, axis=-1) + EPSILON)
    clipped = np.minimum(processed * level[..., None], clean * (1 + 10 ** (CLIP / 20)))
    products = np.einsum("ibw,kibw->kib", _normalised(clean, -1), _normalised(clipped, -1))
    return np.asarray(products.mean(axis=(1, 2)))


def estoi(segments: Signal) -> Signal:
    """Mean correlation of spectra, after the envelopes were normalised, shape (K,)."""
    spectra = _normalised(_normalised(segments, -1), -2)
    return np.asarray(np.einsum("ibw,kibw->ki", spectra[0], spectra[1:]).mean(axis=1) / SEGMENT)


#: A Hann window without its zeros.
_WINDOW = np.hanning(FRAME + 2)[1:-1]


def _frames(signals: Signal) -> Signal:
    """Overlapping frames, shape (K, T, FRAME); the last frame that would fit is left out, as in pystoi."""
    whole = sliding_window_view(signals, FRAME, axis=1)
    return whole[:, : signals.shape[1] - FRAME : HOP]


def _without_silence(signals: Signal) -> Signal:
    """Frames in which the reference, the first signal, is below the range of speech are cut out of all signals."""
    frames = _frames(signals) * _WINDOW
    level = 20 * np.log10(np.linalg.norm(frames[0], axis=1) + EPSILON)
    kept = frames[:, level > level.max() - RANGE]
    halves = np.zeros((len(signals), kept.shape[1] + 1, HOP))
    halves[:, :-1] = kept[..., :HOP]
    halves[:, 1:] += kept[..., HOP:]
    return halves.reshape(len(signals), -1)


def _normalised(values: Signal, axis: int) -> Signal:
    centred = values - values.mean(axis=axis, keepdims=True)
    return np.asarray(centred / (np.linalg.norm(centred, axis=axis, keepdims=True) + EPSILON))
