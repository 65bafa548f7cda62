"""How close separated signals are to their references. Letters: S speaker, K estimate, N sample.

All computing is in double precision. Decibels are limited to +-100, so that a silent or a perfect estimate keeps a
mean finite. The estimates' order is the one with the best mean SI-SDR; every metric is read under that one order.
"""

import warnings
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from sepasr_cli.errors import SepasrError

Signal = NDArray[np.float64]

#: Ratios in decibels are cut to this range.
LIMIT = 100.0
#: Taps of the distortion filter that BSS Eval allows.
FILTER = 512
#: Mode of PESQ at the sample rates for which it is defined (ITU-T P.862.2 wide band, P.862 narrow band).
PESQ_MODES = {16000: "wb", 8000: "nb"}


@dataclass(frozen=True)
class Mean:
    """A mean that adds: the total and how many values are in it.

    >>> (Mean(3.0, 1) + Mean(5.0, 1)).value
    4.0
    """

    total: float = 0.0
    count: int = 0

    @classmethod
    def of(cls, value: float | None) -> "Mean":
        """One value, or none where it is undefined."""
        return cls() if value is None else cls(float(value), 1)

    @property
    def value(self) -> float | None:
        """The mean; None where nothing was counted."""
        return self.total / self.count if self.count else None

    def __add__(self, other: "Mean") -> "Mean":
        return Mean(self.total + other.total, self.count + other.count)


@dataclass(frozen=True)
class SignalScore:
    """Scores of one speaker, or of many added; decibels but for STOI (0 to 1) and PESQ (1 to 4.6)."""

    si_sdr: Mean = Mean()
    si_sdr_improvement: Mean = Mean()
    si_sdr_mixture: Mean = Mean()
    sdr: Mean = Mean()
    sdr_improvement: Mean = Mean()
    sdr_mixture: Mean = Mean()
    stoi: Mean = Mean()
    pesq: Mean = Mean()
    #: Why a metric is missing, once for every value that is.
    undefined: tuple[str, ...] = ()

    def __add__(self, other: "SignalScore") -> "SignalScore":
        return SignalScore(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def __radd__(self, other: int) -> "SignalScore":
        """Lets `sum` begin with 0."""
        return self

    def means(self) -> dict[str, Mean]:
        """The metrics by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "undefined"}


def si_sdr(reference: Signal, estimate: Signal) -> Signal:
    """Scale-invariant signal-to-distortion ratio in dB of every pair (https://arxiv.org/abs/1811.02508, equation 5).

    Args:
        reference: shape (S, N), none of them silent.
        estimate: shape (K, N); a silent one has the lowest ratio.

    Returns:
        Shape (S, K).
    """
    return _decibels(_squared_cosine(np.atleast_2d(reference), np.atleast_2d(estimate)))


def sdr(reference: Signal, estimate: Signal) -> Signal:
    """Signal-to-distortion ratio of BSS Eval in dB of every pair, any filter of 512 taps allowed.

    It is what `bss_eval_sources` of mir_eval gives for single references (Vincent et al., 2006), computed by
    fast_bss_eval (https://arxiv.org/abs/2110.06440). Shapes as in `si_sdr`.
    """
    from fast_bss_eval import sdr_loss

    reference, estimate = np.atleast_2d(reference), np.atleast_2d(estimate)
    heard = np.abs(estimate).max(axis=1) > 0
    result = np.full((len(reference), len(estimate)), -LIMIT)
    if heard.any():
        # The smallest loading that keeps the filter of a band-limited reference solvable.
        loss = sdr_loss(estimate[heard], reference, filter_length=FILTER, load_diag=1e-10, pairwise=True)
        result[:, heard] = np.clip(-loss, -LIMIT, LIMIT)
    return result


def stoi(reference: Signal, estimate: Signal, sample_rate: int) -> tuple[float | None, str]:
    """Short-time objective intelligibility, by pystoi; None and the reason where it is undefined. Shapes (N,)."""
    from pystoi import stoi as compute

    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(compute(reference, estimate, sample_rate)), ""
        except np.exceptions.AxisError:  # not one frame of 256 samples
            return None, "stoi: less than 0.4 s of speech"
        except RuntimeWarning as problem:
            short = "Not enough STFT frames" in str(problem)
            return None, "stoi: less than 0.4 s of speech" if short else f"stoi: {problem}"


def pesq(reference: Signal, estimate: Signal, sample_rate: int) -> tuple[float | None, str]:
    """Perceptual evaluation of speech quality; None and the reason where it is undefined. Shapes (N,)."""
    mode = PESQ_MODES.get(sample_rate)
    if mode is None:
        return None, f"pesq: defined for {' and '.join(map(str, PESQ_MODES))} Hz, not for {sample_rate} Hz"
    try:
        from pesq import PesqError
        from pesq import pesq as compute
    except ImportError:
        return None, "pesq: the package pesq is not installed"
    if not np.abs(estimate).max(initial=0.0) > 0:
        return None, "pesq: the estimate is silent"
    try:
        return float(compute(sample_rate, reference.astype(np.float32), estimate.astype(np.float32), mode)), ""
    except (PesqError, ValueError, ZeroDivisionError) as error:
        reason = error.args[0] if error.args else error
        return None, f"pesq: {reason.decode() if isinstance(reason, bytes) else reason}"


def best_order(ratios: Signal) -> tuple[int, ...]:
    """For every reference the estimate it is given, so that the sum of ratios (S, K) is highest; K is at least S."""
    return tuple(int(column) for column in linear_sum_assignment(ratios, maximize=True)[1])


def score_signals(
    references: NDArray[np.floating], estimates: NDArray[np.floating], mixture: NDArray[np.floating], sample_rate: int
) -> tuple[list[SignalScore], tuple[int, ...]]:
    """Score the estimates of one recording.

    Args:
        references: shape (S, N).
        estimates: shape (K, N), K at least S, in any order.
        mixture: shape (N,), the unprocessed reference microphone.
        sample_rate: in Hz.

    Returns:
        One score a speaker, in the order of the references, and the index of each one's estimate.

    Raises:
        SepasrError: where there are fewer estimates than references, or lengths differ.
    """
    truth, given, before = (np.atleast_2d(np.asarray(x, np.float64)) for x in (references, estimates, mixture))
    if len(given) < len(truth):
        raise SepasrError(f"{len(given)} estimates for {len(truth)} references; expected at least as many")
    if not truth.shape[1] == given.shape[1] == before.shape[1]:
        raise SepasrError(
            f"found references of {truth.shape[1]}, estimates of {given.shape[1]} and a mixture of {before.shape[1]} "
            "samples; expected equal lengths"
        )
    heard = np.abs(truth).max(axis=1) > 0
    candidates = np.concatenate([given, before])
    scale = np.zeros((len(truth), len(candidates)))
    filtered = scale.copy()
    if heard.any():
        scale[heard], filtered[heard] = si_sdr(truth[heard], candidates), sdr(truth[heard], candidates)
    order = best_order(scale[:, :-1])
    scores = []
    for row, column in enumerate(order):
        if not heard[row]:
            scores.append(SignalScore(undefined=("the reference is silent",)))
            continue
        intelligibility, no_stoi = stoi(truth[row], given[column], sample_rate)
        quality, no_pesq = pesq(truth[row], given[column], sample_rate)
        scores.append(
            SignalScore(
                *_with_improvement(scale[row, column], scale[row, -1]),
                *_with_improvement(filtered[row, column], filtered[row, -1]),
                stoi=Mean.of(intelligibility),
                pesq=Mean.of(quality),
                undefined=tuple(reason for reason in (no_stoi, no_pesq) if reason),
            )
        )
    return scores, order


def _with_improvement(ratio: float, mixture: float) -> tuple[Mean, Mean, Mean]:
    return Mean.of(ratio), Mean.of(ratio - mixture), Mean.of(mixture)


def _squared_cosine(reference: Signal, estimate: Signal) -> Signal:
    power = np.einsum("sn,sn->s", reference, reference)[:, None] * np.einsum("kn,kn->k", estimate, estimate)
    return np.einsum("sn,kn->sk", reference, estimate) ** 2 / np.maximum(power, np.finfo(np.float64).tiny)


def _decibels(coherence: Signal) -> Signal:
    """From the share of an estimate's energy that its reference explains."""
    floor = 10 ** (-LIMIT / 10)
    return np.clip(10 * np.log10(np.maximum(coherence, floor) / np.maximum(1 - coherence, floor)), -LIMIT, LIMIT)
