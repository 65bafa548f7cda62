"""How close separated signals are to their references. Letters: S speaker, K estimate, N sample.

The estimates' order is the one with the best mean SI-SDR; every metric is read under that one order.
"""

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from sepasr_cli.errors import SepasrError
from sepasr_cli.scoring import stoi
from sepasr_cli.scoring.bss_eval import Signal, bss_eval, si_sdr

SignalMetric = Literal["si_sdr", "sdr", "sir", "sar", "stoi", "estoi", "pesq"]
SIGNAL_METRICS: tuple[SignalMetric, ...] = get_args(SignalMetric)
#: Mode of PESQ at the sample rates for which it is defined (ITU-T P.862.2 wide band, P.862 narrow band).
PESQ_MODES = {16000: "wb", 8000: "nb"}
TOO_SHORT = "less than 0.4 s of speech"


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
    """Scores of one speaker, or of many added; decibels but for STOI, ESTOI (at most 1) and PESQ (1 to 4.6).

    `_mixture` is the metric of the unprocessed mixture and `_improvement` what the estimate has more. A mixture has no
    artefacts to speak of, so SAR stands alone.
    """

    si_sdr: Mean = Mean()
    si_sdr_improvement: Mean = Mean()
    si_sdr_mixture: Mean = Mean()
    sdr: Mean = Mean()
    sdr_improvement: Mean = Mean()
    sdr_mixture: Mean = Mean()
    sir: Mean = Mean()
    sir_improvement: Mean = Mean()
    sir_mixture: Mean = Mean()
    sar: Mean = Mean()
    stoi: Mean = Mean()
    stoi_improvement: Mean = Mean()
    stoi_mixture: Mean = Mean()
    estoi: Mean = Mean()
    estoi_improvement: Mean = Mean()
    estoi_mixture: Mean = Mean()
    pesq: Mean = Mean()
    pesq_improvement: Mean = Mean()
    pesq_mixture: Mean = Mean()
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
    references: NDArray[np.floating],
    estimates: NDArray[np.floating],
    mixture: NDArray[np.floating] | None,
    sample_rate: int,
    metrics: Collection[str] = SIGNAL_METRICS,
) -> tuple[list[SignalScore], tuple[int, ...]]:
    """Score the estimates of one recording.

    Args:
        references: shape (S, N).
        estimates: shape (K, N), K at least S, in any order.
        mixture: shape (N,), the unprocessed reference microphone; without it there are no improvements.
        sample_rate: in Hz.
        metrics: the ones to compute, of `SIGNAL_METRICS`.

    Returns:
        One score a speaker, in the order of the references, and the index of each one's estimate.

    Raises:
        SepasrError: where there are fewer estimates than references, or lengths differ.
    """
    truth, given = (np.atleast_2d(np.asarray(x, np.float64)) for x in (references, estimates))
    before = np.empty((0, truth.shape[1])) if mixture is None else np.atleast_2d(np.asarray(mixture, np.float64))
    if len(given) < len(truth):
        raise SepasrError(f"{len(given)} estimates for {len(truth)} references; expected at least as many")
    if not truth.shape[1] == given.shape[1] == before.shape[1]:
        raise SepasrError(
            f"found references of {truth.shape[1]}, estimates of {given.shape[1]} and a mixture of {before.shape[1]} "
            "samples; expected equal lengths"
        )
    heard = np.flatnonzero(np.abs(truth).max(axis=1) > 0)
    candidates = np.concatenate([given, before])
    scale = np.zeros((len(truth), len(candidates)))
    if len(heard):
        scale[heard] = si_sdr(truth[heard], candidates)
    order = best_order(scale[:, : len(given)])
    # For each speaker its estimate and, where there is one, the mixture.
    columns = [[column, *range(len(given), len(candidates))] for column in order]
    found: list[dict[str, list[float | None]]] = [{} for _ in truth]
    reasons: list[list[str]] = [[] for _ in truth]
    if {"sdr", "sir", "sar"} & set(metrics) and len(heard):
        ratios = bss_eval(truth[heard], candidates, interference=bool({"sir", "sar"} & set(metrics)))
        for row, speaker in enumerate(heard):
            found[speaker] |= {name: list(table[row, columns[speaker]]) for name, table in ratios._asdict().items()}
            if len(heard) < 2:
                del found[speaker]["sir"]
                reasons[speaker] += ["sir: one speaker"] if "sir" in metrics else []
    if {"stoi", "estoi"} & set(metrics):
        clean, processed = stoi.resample(truth, sample_rate), stoi.resample(candidates, sample_rate)
    for row in range(len(truth)):
        if row not in heard:
            reasons[row] = ["the reference is silent"]
            continue
        found[row]["si_sdr"] = list(scale[row, columns[row]])
        if {"stoi", "estoi"} & set(metrics):
            envelopes = stoi.envelopes(clean[row], processed[columns[row]])
            if envelopes is None:
                reasons[row] += [f"{name}: {TOO_SHORT}" for name in ("stoi", "estoi") if name in metrics]
            else:
                measures = (("stoi", stoi.stoi), ("estoi", stoi.estoi))
                found[row] |= {name: list(measure(envelopes)) for name, measure in measures if name in metrics}
        if "pesq" in metrics:
            values = [pesq(truth[row], candidates[column], sample_rate) for column in columns[row]]
            found[row]["pesq"] = [value for value, _ in values]
            reasons[row] += [values[0][1]] if values[0][1] else []
    scores = [
        _with_improvement({name: values for name, values in each.items() if name in metrics}, tuple(why))
        for each, why in zip(found, reasons, strict=True)
    ]
    return scores, order


def _with_improvement(values: dict[str, list[float | None]], undefined: tuple[str, ...]) -> SignalScore:
    """From each metric's value of the estimate and, where there is one, of the mixture."""
    means: dict[str, Mean] = {}
    for name, (value, *mixture) in values.items():
        means[name] = Mean.of(value)
        if mixture and name != "sar":
            means[f"{name}_mixture"] = Mean.of(mixture[0])
            gain = None if value is None or mixture[0] is None else value - mixture[0]
            means[f"{name}_improvement"] = Mean.of(gain)
    return SignalScore(**means, undefined=undefined)
