"""Which charts a report has: how training went, how scores spread, how words follow signals."""

from collections.abc import Sequence

import numpy as np

from sepasr_cli.reporting.charts import Chart, Series
from sepasr_cli.reporting.collect import TRAINED, Scored

#: What validation watches in each stage, and how it is called.
CRITERIA = {
    "separator": ("si_sdr_improvement", "SI-SDR improvement (dB), dev", False),
    "recognizer": ("greedy_accuracy", "tokens right (greedy), dev", True),
    "joint": ("greedy_accuracy", "tokens right (greedy), dev", True),
}
STAGES = {"separator": "Separator", "recognizer": "Recogniser", "joint": "Joint fine-tuning"}


def training_charts(columns: Sequence[Scored]) -> list[Chart]:
    """The loss and the criterion of every stage, all runs in one chart."""
    runs: dict[str, tuple[int, Scored]] = {}
    for slot, column in enumerate(columns):
        runs.setdefault(str(column.run.path), (slot, column))
    several = len(runs) > 1
    charts = []
    for stage in TRAINED:
        key, label, share = CRITERIA[stage]
        losses, gains = [], []
        for slot, column in runs.values():
            training = column.training.get(stage)
            if training is None:
                continue
            name = _run_name(column)
            for split in ("train", "dev"):
                points = tuple(training.curve(split, "loss"))
                if points:
                    of = f"{name}, {split}" if several else split
                    losses.append(Series(of, "line", points, slot, faint=split == "train"))
            if points := tuple(training.curve("dev", key)):
                gains.append(Series(name, "line", points, slot))
            if points := tuple(training.curve("dev", "clean_accuracy")):
                gains.append(Series(f"{name}, clean references", "line", points, slot, faint=True))
        if losses:
            charts.append(Chart(f"{stage}_loss", f"{STAGES[stage]}: loss", "step", "loss", tuple(losses)))
        if gains:
            title = f"{STAGES[stage]}: {label.rsplit(',', 1)[0]}"
            charts.append(Chart(f"{stage}_dev", title, "step", label, tuple(gains), y_share=share))
    return charts


def score_charts(columns: Sequence[Scored]) -> list[Chart]:
    """How SI-SDR improvement and WER spread over recordings, and how one goes with the other."""
    charts = []
    for key, label, share in (("si_sdr_improvement", "SI-SDR improvement (dB)", False), ("wer", "WER", True)):
        values = {slot: _values(column, key) for slot, column in enumerate(columns)}
        if any(len(found) for found in values.values()):
            title = f"{label.split(' (')[0]} over recordings"
            series = _histograms(columns, values)
            charts.append(Chart(key, title, label, "recordings", series, x_share=share))
    scatter = []
    for slot, column in enumerate(columns):
        both = [
            (one["si_sdr_improvement"], one["wer"], name)
            for name, one in column.recordings.items()
            if one.get("si_sdr_improvement") is not None and one.get("wer") is not None
        ]
        if both:
            labels = tuple(f"{name}: {x:.1f} dB, WER {y:.0%}" for x, y, name in both)
            scatter.append(Series(column.name, "points", tuple((x, y) for x, y, _ in both), slot, labels=labels))
    if scatter:
        title = "WER against SI-SDR improvement"
        charts.append(
            Chart("wer_against_si_sdr", title, "SI-SDR improvement (dB)", "WER", tuple(scatter), y_share=True)
        )
    return charts


def _run_name(column: Scored) -> str:
    """A column's name without its system, which does not matter to the training of a run."""
    return column.name.removesuffix(f" {column.system}")


def _values(column: Scored, key: str) -> list[float]:
    return [one[key] for one in column.recordings.values() if one.get(key) is not None]


def _histograms(columns: Sequence[Scored], values: dict[int, list[float]]) -> tuple[Series, ...]:
    """Counts in bins that all columns share; the number of bins is NumPy's for all values together, 6 to 30."""
    every = np.concatenate([np.asarray(found, float) for found in values.values()])
    bins = int(np.clip(len(np.histogram_bin_edges(every, "auto")) - 1, 6, 30))
    edges = np.histogram_bin_edges(every, bins)
    series = []
    for slot, found in values.items():
        if found:
            counts = [*np.histogram(found, edges)[0].tolist(), 0]
            points = tuple(zip(edges.tolist(), map(float, counts), strict=True))
            series.append(Series(columns[slot].name, "steps", points, slot))
    return tuple(series)
