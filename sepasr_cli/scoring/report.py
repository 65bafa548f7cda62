"""Scores as plain data: a record for every recording, and the summary of a corpus."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sepasr_cli.scoring.bootstrap import intervals
from sepasr_cli.scoring.signals import SIGNAL_METRICS, Mean, SignalScore
from sepasr_cli.scoring.words import COLLAR, WORD_METRICS, ErrorRate, SpokenPair, WordScore

#: Why a metric is missing that could have been computed.
NOT_ASKED_FOR = "not asked for"
#: Files of a folder of scores.
SUMMARY, RECORDINGS = "summary.json", "recordings.jsonl"
#: Metrics of separated signals, which a mixture has too, and what they gain over it.
SIGNAL_NAMES = tuple(item.name for item in fields(SignalScore) if item.name != "undefined")


@dataclass(frozen=True)
class RecordingScore:
    """Everything measured of one recording; `signals` holds a score a speaker, `estimates` the file each was given.

    `references` are fingerprints of what the "signals" and "words" were compared with; `notes` say what was done to
    them before, such as a cut.
    """

    id: str
    speakers: tuple[str, ...] = ()
    signals: tuple[SignalScore, ...] = ()
    estimates: tuple[str, ...] = ()
    words: WordScore | None = None
    transcripts: tuple[SpokenPair, ...] = ()
    references: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def parts(self) -> dict[str, Mean]:
        """Totals and counts of every metric; a rate's total is its errors and its count the length."""
        found = sum(self.signals, SignalScore()).means() if self.signals else {}
        if self.words is not None:
            found |= {name: Mean(rate.errors, rate.length) for name, rate in self.words.rates().items()}
        return found

    def record(self) -> dict[str, Any]:
        """Plain data, one line of `recordings.jsonl`."""
        result: dict[str, Any] = {"id": self.id}
        if self.signals:
            result |= _means(sum(self.signals, SignalScore()))
            result["signals"] = [
                {"speaker": speaker, "estimate": estimate, **_means(score), "undefined": list(score.undefined)}
                for speaker, estimate, score in zip(self.speakers, self.estimates, self.signals, strict=True)
            ]
        if self.words is not None:
            result |= _words(self.words)
            result["transcripts"] = [vars(pair) for pair in self.transcripts]
        result["counts"] = {name: part.count for name, part in self.parts().items()}
        result["references"] = dict(self.references)
        result["notes"] = list(self.notes)
        return result


def parts_of(record: Mapping[str, Any]) -> dict[str, Mean]:
    """`RecordingScore.parts` from a line of `recordings.jsonl`."""
    found = {
        name: Mean(record[name] * count, count)
        for name, count in record["counts"].items()
        if name in SIGNAL_NAMES and count
    }
    return found | {name: Mean(rate["errors"], rate["length"]) for name, rate in record.get("errors", {}).items()}


def total(recordings: Sequence[RecordingScore]) -> tuple[SignalScore, WordScore]:
    """The corpus: every speaker's signal counts the same, and every word."""
    signals = sum((score for recording in recordings for score in recording.signals), SignalScore())
    words = sum((recording.words for recording in recordings if recording.words is not None), WordScore())
    return signals, words


def summarise(
    recordings: Sequence[RecordingScore],
    reference: str,
    text: str,
    collar: float = COLLAR,
    reasons: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Plain data of the corpus: every metric's mean (error rates as fractions, null where unknown) and its count.

    Args:
        recordings: what was scored.
        reference: name of the reference signal.
        text: name of the normalisation of texts.
        collar: seconds by which a word may be off in tcpWER.
        reasons: why metrics cannot apply at all, by their names.
    """
    signals, words = total(recordings)
    undefined = Counter((*signals.undefined, *words.undefined))
    counts = {name: mean.count for name, mean in signals.means().items()}
    counts |= {name: rate.length for name, rate in words.rates().items()}
    found = intervals([recording.parts() for recording in recordings])
    return {
        **_words(words),
        **_means(signals),
        "intervals": {name: [round(bound, 6) for bound in bounds] for name, bounds in sorted(found.items())},
        "counts": {"recordings": len(recordings), "transcribed_recordings": words.recordings, **counts},
        "reference": reference,
        "text": text,
        "collar": collar,
        "undefined": dict(undefined),
        "unscored": _unscored(counts, undefined, reasons or {}),
        "notes": dict(Counter(note for recording in recordings for note in recording.notes)),
    }


def _unscored(counts: Mapping[str, int], undefined: Mapping[str, int], reasons: Mapping[str, str]) -> dict[str, str]:
    """Each metric without a value, and why."""
    missing: dict[str, str] = {}
    for name in (*SIGNAL_METRICS, *WORD_METRICS):
        if not counts[name]:
            told = [reason.partition(": ")[2] for reason in undefined if reason.startswith(f"{name}: ")]
            missing[name] = reasons.get(name) or "; ".join(told) or "nothing to compute it from"
    return missing


def _means(score: SignalScore) -> dict[str, float | None]:
    return {name: None if mean.value is None else round(mean.value, 6) for name, mean in score.means().items()}


def _words(score: WordScore) -> dict[str, Any]:
    rates = score.rates()
    return {
        **{name: rate.rate for name, rate in rates.items()},
        "words": _counts(score.words),
        "characters": _counts(score.characters),
        "errors": {name: _counts(rate) for name, rate in rates.items()},
    }


def _counts(rate: ErrorRate) -> dict[str, int]:
    return {"errors": rate.errors, **vars(rate)}
