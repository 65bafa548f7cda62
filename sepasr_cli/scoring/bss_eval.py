"""Ratios in decibels between references and estimates. Letters: S speaker, K estimate, N sample, L filter tap.

Every ratio follows from the share of an estimate's energy that lies in a subspace: that of its reference, of the
reference through any filter of L taps, or of all references through such filters. One factorisation serves all
estimates, whichever speaker they are given to.

All computing is in double precision. Decibels are limited to +-100, so that a silent or a perfect estimate keeps a
mean finite.
"""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.fft import irfft, rfft
from scipy.linalg import LinAlgError, cho_factor, cho_solve, toeplitz

Signal = NDArray[np.float64]

#: Ratios in decibels are cut to this range.
LIMIT = 100.0
#: Taps of the distortion filter that BSS Eval allows.
FILTER = 512
#: Samples of a transform when correlating.
BLOCK = 4096
#: Loadings of the correlations, relative to the power, the smallest first that makes them positive definite: a
#: reference without content in a band has filters that cannot be told apart.
LOADINGS = (0.0, 1e-12, 1e-10, 1e-8)


class BssEval(NamedTuple):
    """Ratios in dB of every pair of reference and estimate, shape (S, K)."""

    sdr: Signal
    sir: Signal
    sar: Signal


def si_sdr(reference: Signal, estimate: Signal) -> Signal:
    """Scale-invariant signal-to-distortion ratio in dB of every pair (https://arxiv.org/abs/1811.02508, equation 5).

    Args:
        reference: shape (S, N), none of them silent.
        estimate: shape (K, N); a silent one has the lowest ratio.

    Returns:
        Shape (S, K).
    """
    reference, estimate = np.atleast_2d(reference), np.atleast_2d(estimate)
    power = np.einsum("sn,sn->s", reference, reference)[:, None] * np.einsum("kn,kn->k", estimate, estimate)
    share = (reference @ estimate.T) ** 2 / np.maximum(power, np.finfo(np.float64).tiny)
    return _decibels(share, 1 - share)


def bss_eval(reference: Signal, estimate: Signal, interference: bool = True) -> BssEval:
    """Signal to distortion, interference and artefacts (Vincent et al., 2006), filters of 512 taps allowed.

    They are those of `bss_eval_sources` of mir_eval, here for every pair at once. SIR compares with the other
    references: with one reference alone it is the highest there is.

    Args:
        reference: shape (S, N), none of them silent.
        estimate: shape (K, N); a silent one has the lowest ratios.
        interference: False leaves out the other references, as if there were none, and is faster.
    """
    reference, estimate = np.atleast_2d(reference), np.atleast_2d(estimate)
    reference = reference / np.linalg.norm(reference, axis=1, keepdims=True)
    estimate = estimate / np.maximum(np.linalg.norm(estimate, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    speakers, estimates = len(reference), len(estimate)
    correlated = _correlations(reference, np.concatenate([reference, estimate]))
    cross = correlated[:, speakers:]
    correlations = np.empty((speakers, FILTER, speakers, FILTER))
    for row in range(speakers):
        for column in range(row + 1) if interference else [row]:
            block = toeplitz(correlated[row, column], correlated[column, row])
            correlations[row, :, column] = block
            correlations[column, :, row] = block.T
    own = np.stack([_share(correlations[row, :, row], cross[row].T) for row in range(speakers)])
    everyone = own
    if interference and speakers > 1:
        wide = correlations.reshape(speakers * FILTER, speakers * FILTER)
        together = _share(wide, cross.transpose(0, 2, 1).reshape(speakers * FILTER, estimates))
        everyone = np.broadcast_to(together, own.shape)
    return BssEval(_decibels(own, 1 - own), _decibels(own, everyone - own), _decibels(everyone, 1 - everyone))


def _correlations(first: Signal, second: Signal) -> Signal:
    """Sum over n of first[n] and second[n + l] for the lags l of the filter: (S, N) and (K, N) give (S, K, L).

    In blocks, whose spectra are added up before the one inverse transform: short transforms stay in the cache.
    """
    step = BLOCK - FILTER + 1
    blocks = -(-first.shape[1] // step)
    padded = np.pad(first, ((0, 0), (0, blocks * step - first.shape[1]))).reshape(len(first), blocks, step)
    longer = np.pad(second, ((0, 0), (0, blocks * step + FILTER - 1 - second.shape[1])))
    spectra = rfft(padded, BLOCK)
    others = rfft(sliding_window_view(longer, BLOCK, axis=1)[:, ::step], BLOCK)
    return np.asarray(irfft(np.einsum("sbf,kbf->skf", spectra.conj(), others), BLOCK)[..., :FILTER])


def _share(correlations: Signal, cross: Signal) -> Signal:
    """Energy of the projections, as a share: x' G^-1 x for each column x."""
    for loading in LOADINGS:
        loaded = correlations + loading * np.eye(len(correlations)) if loading else correlations
        try:
            # The transpose is the same matrix, in the order that LAPACK has.
            factor = cho_factor(loaded.T, lower=True, check_finite=False)
        except LinAlgError:
            continue
        return np.asarray(np.einsum("lk,lk->k", cross, cho_solve(factor, cross, check_finite=False)))
    return np.asarray(np.einsum("lk,lk->k", cross, np.linalg.lstsq(correlations, cross)[0]))


def _decibels(wanted: Signal, rest: Signal) -> Signal:
    floor = 10 ** (-LIMIT / 10)
    return np.clip(10 * np.log10(np.maximum(wanted, floor) / np.maximum(rest, floor)), -LIMIT, LIMIT)
