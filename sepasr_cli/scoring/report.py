"""Scores for people and for programs: a table, and the same numbers as plain data."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.table import Table

from sepasr_cli.scoring.signals import Mean, SignalScore
from sepasr_cli.scoring.words import ErrorRate, WordScore


@dataclass(frozen=True)
class SpokenPair:
    """One speaker's words, and those recognised for that speaker; None where no output was left."""

    speaker: str
    reference: str
    hypothesis: str | None


@dataclass(frozen=True)
class RecordingScore:
    """Everything measured of one recording; `signals` holds a score a speaker, `estimates` the file each was given."""

    id: str
    speakers: tuple[str, ...] = ()
    signals: tuple[SignalScore, ...] = ()
    estimates: tuple[str, ...] = ()
    words: WordScore | None = None
    transcripts: tuple[SpokenPair, ...] = field(default=())

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
        return result


def total(recordings: Sequence[RecordingScore]) -> tuple[SignalScore, WordScore]:
    """The corpus: every speaker's signal counts the same, and every word."""
    signals = sum((score for recording in recordings for score in recording.signals), SignalScore())
    words = sum((recording.words for recording in recordings if recording.words is not None), WordScore())
    return signals, words


def summarise(recordings: Sequence[RecordingScore], reference: str, text: str) -> dict[str, Any]:
    """Plain data of the corpus: every metric's mean (error rates as fractions, null where unknown) and its count.

    Args:
        recordings: what was scored.
        reference: name of the reference signal.
        text: name of the normalisation of texts.
    """
    signals, words = total(recordings)
    counts = {name: mean.count for name, mean in signals.means().items()}
    return {
        **_words(words),
        **_means(signals),
        "counts": {
            "recordings": len(recordings),
            "wer": words.words.length,
            "cer": words.characters.length,
            "transcribed_recordings": words.recordings,
            **counts,
        },
        "reference": reference,
        "text": text,
        "undefined": dict(Counter(signals.undefined)),
    }


def table(summary: dict[str, Any], title: str) -> Table:
    """The summary for people; the unprocessed mixture is beside the separated signals."""
    result = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for column in ("", "mixture", "separated", "improvement", "of"):
        result.add_column(column, justify="left" if column == "" else "right")
    counts = summary["counts"]
    for name, label in (("si_sdr", "SI-SDR (dB)"), ("sdr", "SDR (dB)")):
        gain = _shown(summary[f"{name}_improvement"], "+.2f")
        mixture, separated = _shown(summary[f"{name}_mixture"], ".2f"), _shown(summary[name], ".2f")
        result.add_row(label, mixture, separated, gain, f"{counts[name]} signals")
    for name, label, form in (("stoi", "STOI", ".3f"), ("pesq", "PESQ", ".2f")):
        result.add_row(label, "", _shown(summary[name], form), "", f"{counts[name]} signals")
    for name, label, unit in (("wer", "WER", "words"), ("cer", "CER", "characters")):
        result.add_row(label, "", _shown(summary[name], ".1%"), "", f"{counts[name]} {unit}")
    return result


def remarks(summary: dict[str, Any]) -> list[str]:
    """What the table does not say: kinds of errors, and why metrics are missing, a line each."""
    errors = summary["words"]
    lines = []
    if summary["counts"]["transcribed_recordings"]:
        lines.append(
            f"word errors: {errors['substitutions']} substitutions, {errors['deletions']} deletions, "
            f"{errors['insertions']} insertions (best speaker assignment, text '{summary['text']}')"
        )
    return lines + [f"left out: {reason} ({count}x)" for reason, count in sorted(summary["undefined"].items())]


def example(recording: RecordingScore) -> str:
    """Transcripts of one recording beside their references."""
    lines = [recording.id]
    for pair in recording.transcripts:
        lines += [
            f"  {pair.speaker} said:  {pair.reference}",
            f"  {' ' * len(pair.speaker)} heard: {pair.hypothesis or ''}",
        ]
    return "\n".join(line.rstrip() for line in lines)


def _means(score: SignalScore) -> dict[str, float | None]:
    return {name: _rounded(mean) for name, mean in score.means().items()}


def _words(score: WordScore) -> dict[str, Any]:
    return {
        "wer": score.words.rate,
        "cer": score.characters.rate,
        "words": _counts(score.words),
        "characters": _counts(score.characters),
    }


def _counts(rate: ErrorRate) -> dict[str, int]:
    return {"errors": rate.errors, **vars(rate)}


def _rounded(mean: Mean) -> float | None:
    return None if mean.value is None else round(mean.value, 6)


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
