"""Tables and charts of docs/RESULTS.md from the rows that `results.py` measured."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from filecmp import cmp
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

from sepasr_cli.errors import SepasrError
from sepasr_cli.files import read_json, write_text
from sepasr_cli.reporting.charts import Chart, Series, svg
from sepasr_cli.scoring.bootstrap import differences, intervals
from sepasr_cli.scoring.report import parts_of
from sepasr_cli.scoring.signals import Mean
from sepasr_cli.scoring.tables import rendered

SCORED_METRICS = ("si_sdr", "sdr", "sir", "sar", "stoi", "pesq")
#: The run that all others borrow from: its recogniser hears what has none, its language model serves all.
MAIN = "bundled"
#: The run of the TF-GridNet for one microphone.
ONE_MICROPHONE = f"{MAIN}_one"
#: The run of the bundled model's separators: two TF-GridNets, and the one for one microphone.
TWO_STAGES = f"{MAIN}_two"
#: The run of the bundled model: those separators, and a recogniser trained further on what they separate.
ADAPTED = f"{MAIN}_separated"
#: The systems that the model in the package was, the latest first.
SHIPPED = ("two_stage_adapted", "tfgridnet_joint", "tfgridnet_cascade")
CONDITIONS = ("anechoic", "reverberant", "noisy")
NAMES = {
    "mixture": "mixture, as it is",
    "oracle_references": "early references",
    "oracle_mvdr": "MVDR, oracle masks",
    "tfgridnet_cascade": "TF-GridNet, cascade",
    "tfgridnet_filtered": "TF-GridNet with filters, cascade",
    "tfgridnet_joint": "TF-GridNet, joint",
    "two_stage_adapted": "two TF-GridNets, recogniser adapted",
    "mask_mvdr_cascade": "mask MVDR, cascade",
    "mask_mvdr_joint": "mask MVDR, joint",
}
#: Form of each figure; rates and shares are in per cent, all else but STOI and PESQ in decibels.
FORMS = {"wer": ".1%", "cer": ".1%", "stoi": ".3f", "pesq": ".2f"}
#: What is promised: what it is, the rows it is read from without their system, the metric, target and aim.
TARGETS = (
    ("one speaker, clean", "clean-beam", "wer", 0.09, 0.04),
    ("two speakers, anechoic, 2 microphones", "anechoic-2", "si_sdr_improvement", 12, 16),
    ("two speakers, anechoic, 2 microphones", "anechoic-2", "wer", 0.14, 0.07),
    ("two speakers, reverberant and noisy, 2 microphones", "noisy-2", "si_sdr_improvement", 7, 10),
    ("two speakers, reverberant and noisy, 2 microphones", "noisy-2", "wer", 0.24, 0.12),
    ("the same, 4 microphones", "noisy-4", "si_sdr_improvement", 9, 12),
    ("the same, 4 microphones", "noisy-4", "wer", 0.18, 0.09),
    ("the same, mono", "noisy-1", "si_sdr_improvement", 5, 8),
    ("the same, mono", "noisy-1", "wer", 0.34, 0.20),
)
#: By how much less, as a share, the joint system is to err than the cascade: target and aim.
JOINT_TARGET, JOINT_AIM = 0.20, 0.40
LABELS = {"wer": "WER", "si_sdr_improvement": "SI-SDR improvement (dB)"}
#: Transcripts shown: the first mixtures of this row.
SHOWN, SHOWN_CONDITION = 10, "noisy-2"
#: Columns that say what a line is about, of tables whose lines stay while they are not measured again.
KEYS = {"targets": 2, "training": 2, "clean": 1, "separators": 1, "joint": 3, "steps": 2}
KEYS |= {"variants": 1, "artefacts": 1}
#: Stages that train, and the systems whose runs they are read from.
STAGES = ("separator", "recognizer", "language_model", "joint")

Rows = Mapping[str, Mapping[str, Any]]
Table = list[list[str]]


def load_rows(results: Path) -> dict[str, dict[str, Any]]:
    """Every row that was measured, by its name."""
    return {path.stem: read_json(path, "remove it") for path in sorted((results / "rows").glob("*.json"))}


def figure(value: float | None, bounds: Sequence[float] | None, metric: str) -> str:
    """A figure with its 95 % interval.

    >>> figure(0.234, [0.2, 0.27], "wer"), figure(-1.26, [-2, 0.5], "si_sdr"), figure(None, None, "pesq")
    ('23.4 % (20.0 to 27.0)', '-1.3 (-2.0 to 0.5)', '')
    """
    if value is None:
        return ""
    form, unit = FORMS.get(metric, ".1f"), ""
    if form.endswith("%"):
        scale, form, unit = 100, form.replace("%", "f"), " %"
    else:
        scale = 1
    around = "" if bounds is None else f" ({bounds[0] * scale:{form}} to {bounds[1] * scale:{form}})"
    return f"{value * scale:{form}}{unit}{around}"


def of(row: Mapping[str, Any], metric: str) -> str:
    """A row's figure of a metric."""
    summary = row["summary"]
    return figure(summary.get(metric), summary["intervals"].get(metric), metric)


def told(row: Mapping[str, Any]) -> str:
    """A row's main figures in words."""
    shares = ((metric, label) for metric, label in LABELS.items() if row["summary"].get(metric) is not None)
    return ", ".join(f"{label} {of(row, metric)}" for metric, label in shares)


def relative(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[float, tuple[float, float]] | None:
    """By what share of the first row's word errors the second has fewer, with its paired 95 % interval."""
    errors = {one["id"]: one["errors"]["wer"]["errors"] for one in after["recordings"]}
    pairs = [
        Mean(errors[one["id"]], one["errors"]["wer"]["errors"]) for one in before["recordings"] if one["id"] in errors
    ]
    ratio = sum(pairs, Mean()).value
    bounds = intervals([{"ratio": pair} for pair in pairs]).get("ratio")
    return None if ratio is None or bounds is None else (1 - ratio, (1 - bounds[1], 1 - bounds[0]))


def gained(before: Mapping[str, Any], after: Mapping[str, Any], metric: str) -> str:
    """What the second row has more than the first in a metric, with its paired 95 % interval."""
    sides = [{one["id"]: parts_of(one) for one in row["recordings"]} for row in (before, after)]
    common = [name for name in sides[0] if name in sides[1]]
    found = {each.metric: each for each in differences(*([side[name] for name in common] for side in sides))}
    each = found.get(metric)
    return "" if each is None else figure(each.difference, (each.low, each.high), metric)


def shown(row: str) -> str:
    """What a row's system is called."""
    system = row.split("-")[0]
    return NAMES.get(system, system.replace("_", " "))


def best_system(rows: Rows, rest: str) -> str | None:
    """The row of the model that is shipped, or of what leads to it while there is no other."""
    found = (f"{system}-{rest}" for system in SHIPPED)
    return next((name for name in found if name in rows), None)


def reached(value: float, target: float, aim: float, low_is_good: bool) -> str:
    """Which of the two a figure reaches.

    >>> reached(0.1, 0.14, 0.07, True), reached(11, 12, 16, False), reached(17, 12, 16, False)
    ('target', 'no', 'aim')
    """
    sign = -1 if low_is_good else 1
    return "aim" if sign * value >= sign * aim else "target" if sign * value >= sign * target else "no"


def targets(rows: Rows) -> Table:
    """What was promised beside what was reached."""
    table = [["", "metric", "target", "aim", "reached", "", "row"]]
    for what, rest, metric, target, aim in TARGETS:
        name = best_system(rows, rest)
        value = None if name is None else rows[name]["summary"].get(metric)
        if name is None or value is None:
            continue
        bounds = [figure(bound, None, metric) for bound in (target, aim)]
        verdict = reached(value, target, aim, metric == "wer")
        table.append([what, LABELS[metric], *bounds, of(rows[name], metric), verdict, f"`{name}`"])
    pair = [rows.get(f"tfgridnet_{system}-noisy-2") for system in ("cascade", "joint")]
    if pair[0] is not None and pair[1] is not None and (less := relative(pair[0], pair[1])):
        value, around = less
        bounds = [f"{share:.0%} less" for share in (JOINT_TARGET, JOINT_AIM)]
        verdict = reached(value, JOINT_TARGET, JOINT_AIM, False)
        ours = figure(value, around, "wer") + " less"
        names = "`tfgridnet_cascade-noisy-2`, `tfgridnet_joint-noisy-2`"
        table.append(["joint fine-tuning against the cascade", "WER, relative", *bounds, ours, verdict, names])
    return table


def clean(rows: Rows) -> Table:
    """Recognisers alone."""
    table = [["row", "recogniser", "decoding", "WER", "CER", "words"]]
    for name, row in rows.items():
        if "-clean-" not in name:
            continue
        alone = name.startswith("tfgridnet_cascade")
        decoding = "greedy" if name.endswith("greedy") else "beam"
        if row.get("lm_weight") is not None:
            decoding += f", language model {row['lm_weight']:g}"
        heard = "trained alone" if alone else shown(name)
        words = str(row["summary"]["counts"]["wer"])
        table.append([f"`{name}`", heard, decoding, of(row, "wer"), of(row, "cer"), words])
    return table


def separators(rows: Rows) -> Table:
    """TF-GridNet, mask-based MVDR and what bounds them, by condition and number of microphones."""
    metrics = ("si_sdr_improvement", "sdr_improvement", "stoi", "pesq", "wer")
    table = [["row", "system", "SI-SDR improvement (dB)", "SDR improvement (dB)", "STOI", "PESQ", "WER"]]
    separated = ("oracle_mvdr", "mask_mvdr_cascade", "tfgridnet_cascade", "tfgridnet_filtered")
    systems = [("mixture", "1"), *((system, count) for count in "124" for system in separated)]
    systems.append(("oracle_references", "1"))
    for condition in CONDITIONS:
        for system, count in systems:
            name = f"{system}-{condition}-{count}"
            if name in rows:
                figures = [of(rows[name], metric) for metric in metrics]
                if system in ("mixture", "oracle_references"):
                    figures[:2] = ["", ""]
                table.append([f"`{name}`", shown(name), *figures])
    return table


def joint(rows: Rows) -> Table:
    """The cascades and the joint systems on the same mixtures."""
    head = ["systems", "condition", "microphones", "WER of the first", "of the second", "relative"]
    table = [[*head, *(f"SI-SDR improvement of the {which} (dB)" for which in ("first", "second")), "difference (dB)"]]
    pairs = (("tfgridnet_cascade", "tfgridnet_joint"), ("tfgridnet_filtered", "tfgridnet_joint"))
    pairs += (("mask_mvdr_cascade", "mask_mvdr_joint"),)
    pairs += (("tfgridnet_cascade", "two_stage_adapted"), ("tfgridnet_joint", "two_stage_adapted"))
    for names, condition, count in product(pairs, CONDITIONS, "124"):
        before, after = (rows.get(f"{name}-{condition}-{count}") for name in names)
        if before is None or after is None:
            continue
        less = relative(before, after)
        share = "" if less is None else figure(-less[0], (-less[1][1], -less[1][0]), "wer")
        signals = [of(row, "si_sdr_improvement") for row in (before, after)]
        words = [of(before, "wer"), of(after, "wer"), share]
        label = ", ".join(f"`{name}`" for name in names)
        table.append([label, condition, count, *words, *signals, gained(before, after, "si_sdr_improvement")])
    return table


def variants(rows: Rows) -> Table:
    """Ways to fine-tune, on the same mixtures."""
    table = [["row", "system", "WER", "SI-SDR improvement (dB)", "SAR (dB)", "WER, clean speech"]]
    for name in variant_rows(rows):
        clean_name = f"{name.split('-')[0]}-clean-beam"
        heard = of(rows[clean_name], "wer") if clean_name in rows else ""
        figures = [of(rows[name], metric) for metric in ("wer", "si_sdr_improvement", "sar")]
        table.append([f"`{name}`", shown(name), *figures, heard])
    return table


def variant_rows(rows: Rows) -> list[str]:
    """The rows that variants of fine-tuning are compared by, where there is a variant."""
    base = [name for name in (f"tfgridnet_{kind}-noisy-2" for kind in ("cascade", "filtered", "joint")) if name in rows]
    found = [name for name in rows if name.startswith("finetune_") and name.endswith("-noisy-2")]
    return [*base, *found] if found else []


def artefacts(rows: Rows) -> Table:
    """Interference and artefacts beside words, and how word errors go with them over mixtures."""
    metrics = ("si_sdr", "sir", "sar")
    head = ["row", "system", "SI-SDR (dB)", "SIR (dB)", "SAR (dB)", "WER"]
    table = [[*head, *(f"rank correlation of WER and {metric.upper().replace('_', '-')}" for metric in metrics)]]
    systems = (
        "oracle_mvdr",
        "mask_mvdr_cascade",
        "mask_mvdr_joint",
        "tfgridnet_cascade",
        "tfgridnet_filtered",
        "tfgridnet_joint",
        "two_stage_adapted",
    )
    for condition, count, system in product(("reverberant", "noisy"), "24", systems):
        name = f"{system}-{condition}-{count}"
        if name in rows:
            ranks = [correlation(rows[name]["recordings"], metric) for metric in metrics]
            figures = [of(rows[name], metric) for metric in (*metrics, "wer")]
            table.append([f"`{name}`", shown(name), *figures, *ranks])
    return table


def correlation(recordings: Sequence[Mapping[str, Any]], metric: str) -> str:
    """Spearman's rank correlation of recordings' WER with a metric.

    >>> correlation([{"wer": 0.1, "sar": 9.0}, {"wer": 0.2, "sar": 8.0}, {"wer": 0.5, "sar": 1.0}], "sar")
    '-1.00'
    """
    pairs = [(one["wer"], one[metric]) for one in recordings if None not in (one.get("wer"), one.get(metric))]
    if len(pairs) < 3 or any(len(set(side)) < 2 for side in zip(*pairs, strict=True)):
        return ""
    return f"{spearmanr(*zip(*pairs, strict=True)).statistic:.2f}"


def transcripts(rows: Rows) -> Table:
    """What was heard in the first mixtures, whatever it is."""
    name = best_system(rows, SHOWN_CONDITION)
    table = [["mixture", "WER", "said", "heard"]]
    for recording in rows[name]["recordings"][:SHOWN] if name is not None else []:
        label = [recording["id"], figure(recording["wer"], None, "wer")]
        for pair in recording["transcripts"]:
            table.append([*label, pair["reference"], pair["hypothesis"] or ""])
            label = ["", ""]
    return table


def training(runs: Path) -> Table:
    """How long each model learnt, by its metrics, without pauses; what a run shares with the main one stands once."""
    table = [["run", "model", "steps", "hours", "best on the dev split"]]
    for folder, stage in product(sorted(runs.glob(f"{MAIN}*")), STAGES):
        path, main = (run / stage / "metrics.jsonl" for run in (folder, runs / MAIN))
        if not path.is_file() or (folder.name != MAIN and main.is_file() and cmp(path, main, shallow=False)):
            continue
        lines = read_lines(path)
        trained = [line for line in lines if line["split"] == "train" and "seconds_a_step" in line]
        steps = [0, *(line["step"] for line in trained)]
        taken = [after - before for before, after in pairwise(steps)]
        seconds = sum(count * line["seconds_a_step"] for count, line in zip(taken, trained, strict=True) if count > 0)
        best = ""
        for metric, label in (("greedy_accuracy", "tokens right"), ("si_sdr_improvement", "dB SI-SDR improvement")):
            values = [line[metric] for line in lines if line["split"] == "dev" and metric in line]
            if values and not best:
                best = f"{max(values):.1%} {label}" if "right" in label else f"{max(values):.1f} {label}"
        table.append([f"`{folder.name}`", stage, str(max(steps)), f"{seconds / 3600:.1f}", best])
    return table


def steps(runs: Path) -> Table:
    """The validation curve of every fine-tuning."""
    head = ["run", "step", "tokens wrong (greedy)", "the same, clean references", "SI-SDR improvement (dB)"]
    table = [head]
    for folder in sorted(runs.glob(f"{MAIN}*")):
        for line in dev_lines(folder):
            errors = [f"{1 - line[key]:.1%}" for key in ("greedy_accuracy", "clean_accuracy")]
            table.append([f"`{folder.name}`", str(line["step"]), *errors, f"{line['si_sdr_improvement']:.2f}"])
    return table


def dev_lines(run: Path) -> list[dict[str, Any]]:
    """The validations of a run's fine-tuning, none where it has none."""
    path = run / "joint" / "metrics.jsonl"
    lines = read_lines(path) if path.is_file() else []
    return [line for line in lines if line["split"] == "dev" and "greedy_accuracy" in line]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl; one that is being written is left out."""
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


def charts(rows: Rows, runs: Path) -> list[Chart]:
    """The trade-off while fine-tuning, and between ways to fine-tune."""
    found = []
    curves = [(folder.name, dev_lines(folder)) for folder in sorted(runs.glob(f"{MAIN}*"))]
    curves = [(name, lines) for name, lines in curves if lines]
    words, signals, traded = [], [], []
    for slot, (name, lines) in enumerate(curves):
        wrong = [1 - line["greedy_accuracy"] for line in lines]
        clean_wrong = [1 - line["clean_accuracy"] for line in lines]
        at, gains = [line["step"] for line in lines], [line["si_sdr_improvement"] for line in lines]
        words.append(Series(name, "line", tuple(zip(at, wrong, strict=True)), slot))
        words.append(Series(f"{name}, clean references", "line", tuple(zip(at, clean_wrong, strict=True)), slot, True))
        signals.append(Series(name, "line", tuple(zip(at, gains, strict=True)), slot))
        traded.append(Series(name, "line", tuple(zip(gains, wrong, strict=True)), slot))
    gain, wrong_label = "SI-SDR improvement (dB), dev", "tokens wrong (greedy), dev"
    if curves:
        title = "Fine-tuning: words"
        found.append(Chart("results_steps_words", title, "step", wrong_label, tuple(words), y_share=True))
        found.append(Chart("results_steps_signals", "Fine-tuning: signals", "step", gain, tuple(signals)))
        title = "Fine-tuning: words against signals, step by step"
        found.append(Chart("results_steps_traded", title, gain, wrong_label, tuple(traded), y_share=True))
    points = []
    for slot, name in enumerate(variant_rows(rows)):
        summary = rows[name]["summary"]
        points.append(Series(shown(name), "points", ((summary["si_sdr_improvement"], summary["wer"]),), slot))
    if points:
        title = "Ways to fine-tune, noisy, 2 microphones"
        found.append(Chart("results_variants", title, "SI-SDR improvement (dB)", "WER", tuple(points), y_share=True))
    return found


def draw_plots(results: Path, runs: Path, folder: Path) -> None:
    """Write every chart that there are figures for as SVG."""
    for chart in charts(load_rows(results), runs):
        write_text(folder / f"{chart.name}.svg", svg(chart, alone=True) + "\n")


def fill_tables(results: Path, runs: Path, page: Path) -> None:
    """Put every table and chart between its marks in the page; lines of what is not measured here stay (`KEYS`)."""
    rows = load_rows(results)
    makers: dict[str, Callable[[], Table]] = {
        "targets": lambda: targets(rows),
        "clean": lambda: clean(rows),
        "training": lambda: training(runs),
        "separators": lambda: separators(rows),
        "joint": lambda: joint(rows),
        "steps": lambda: steps(runs),
        "variants": lambda: variants(rows),
        "artefacts": lambda: artefacts(rows),
        "transcripts": lambda: transcripts(rows),
    }
    text = page.read_text(encoding="utf-8")
    parts = {}
    for name, make in makers.items():
        table = make()
        lines = rendered(table, "markdown").splitlines() if len(table) > 1 else []
        before = [line for line in between(text, name)[1].splitlines() if line.startswith("|")]
        lines = merged(before, lines, KEYS[name]) if name in KEYS else lines or before
        pictures = [f"![{name}]({path.name})" for path in sorted(page.parent.glob(f"results_{name}*.svg"))]
        parts[name] = "\n\n".join([*pictures, *(["\n".join(lines)] if lines else [])])
    write_text(page, filled(text, parts))


def merged(before: Sequence[str], after: Sequence[str], columns: int) -> list[str]:
    """Lines of a table, the head's two first: those of `after`, and of `before` those about other things.

    What a line is about stands in its first columns.

    >>> merged(["| a | b |", "|---|---|", "| x | 1 |", "| y | 2 |"], ["| a | b |", "|---|---|", "| y | 3 |"], 1)
    ['| a | b |', '|---|---|', '| x | 1 |', '| y | 3 |']
    """
    if not (before and after) or before[0] != after[0]:
        return [*(after or before)]
    lines, place = [(_about(line, columns), line) for line in before[2:]], 0
    for line in after[2:]:
        about = _about(line, columns)
        found = [index for index, (other, _) in enumerate(lines) if other == about]
        place = found[0] if found else place
        lines[place : place + len(found)] = [(about, line)]
        place += 1
    return [*after[:2], *(line for _, line in lines)]


def _about(line: str, columns: int) -> list[str]:
    return line.split(" | ")[:columns]


def filled(text: str, parts: Mapping[str, str]) -> str:
    r"""A page with each part between its marks, in the place of what was there.

    >>> filled("<!-- table: a -->\nold\n<!-- end -->\n", {"a": "new"})
    '<!-- table: a -->\n\nnew\n\n<!-- end -->\n'

    Raises:
        SepasrError: where a part has no marks.
    """
    for name, part in parts.items():
        begin, end = between(text, name).span(1)
        text = text[:begin] + (f"\n{part}\n\n" if part else "") + text[end:]
    return text


def between(text: str, name: str) -> re.Match[str]:
    """What a page holds between the marks of a part, as the first group.

    Raises:
        SepasrError: where it has no such marks.
    """
    found = re.search(rf"<!-- table: {name} -->\n(.*?)<!-- end -->", text, re.DOTALL)
    if found is None:
        raise SepasrError(f"the page has no marks <!-- table: {name} --> and <!-- end -->; put them back")
    return found
