"""The active level of speech by ITU-T P.56 (method B): the power of speech where there is speech."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d
from scipy.signal import lfilter

from sepasr_cli.errors import SepasrError

#: Time constant of the envelope and how long after it speech still counts as active, in seconds.
SMOOTHING, HANGOVER = 0.03, 0.2

#: By how many dB the active level lies above the threshold of activity that goes with it.
MARGIN = 15.9


def active_level(speech: NDArray[np.floating], sample_rate: int) -> float:
    """The mean power of speech (N,) while it is active, relative to a full scale of 1.

    Thresholds lie 6.02 dB apart; between two of them the level is found by interpolation, in dB. The input is not
    filtered: P.56 leaves that open.

    Raises:
        SepasrError: where the speech is silent.
    """
    energy = float(np.sum(np.square(speech, dtype=np.float64)))
    if energy == 0:
        raise SepasrError("silent, so that it has no level of speech")
    decay = math.exp(-1 / (sample_rate * SMOOTHING))
    smooth = ([1 - decay], [1, -decay])
    envelope = lfilter(*smooth, lfilter(*smooth, np.abs(speech).astype(np.float64)))
    # A sample is active where the envelope passed the threshold within the hangover before it.
    hold = round(HANGOVER * sample_rate)
    held = maximum_filter1d(envelope, hold + 1, origin=hold // 2, mode="constant")
    thresholds = 2.0 ** -np.arange(30)
    active = np.searchsorted(np.sort(held), thresholds, side="left")
    counts = len(held) - active
    used = counts > 0
    levels = 10 * np.log10(energy / counts[used])
    above = levels - 20 * np.log10(thresholds[used])
    # From loud thresholds to soft ones the level falls, and its distance to them reaches the margin somewhere.
    first = int(np.argmax(above >= MARGIN))
    level = levels[0] if first == 0 else np.interp(MARGIN, above[first - 1 : first + 1], levels[first - 1 : first + 1])
    return float(10 ** (level / 10))
