"""The page: one HTML file with everything in it.

Every text goes through Jinja's escaping. A content security policy names the hashes of the page's own script and style,
so that nothing else runs and nothing is fetched, whatever a transcript holds.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from sepasr_cli.reporting.charts import Chart, plan, sample, svg
from sepasr_cli.reporting.collect import Scored
from sepasr_cli.reporting.conditions import QUANTITIES, conditions
from sepasr_cli.reporting.details import Detail, Item
from sepasr_cli.reporting.diagnoses import Diagnosis
from sepasr_cli.scoring.bootstrap import Difference, differences
from sepasr_cli.scoring.report import parts_of
from sepasr_cli.version import __version__

#: How a page says that it is ours.
GENERATOR = f"sepasr {__version__} report"


@dataclass(frozen=True)
class Metric:
    """How a metric is shown; a share in per cent."""

    label: str
    unit: str
    form: str
    better: str = "higher"

    def number(self, value: float) -> float:
        """The number in the unit that is shown."""
        return 100 * value if self.unit == "%" else value

    def shown(self, value: float | None) -> str:
        """The number as text, without its unit."""
        return "\N{EN DASH}" if value is None else format(self.number(value), self.form).replace("-", "\N{MINUS SIGN}")


METRICS = {
    "wer": Metric("WER", "%", ".1f", "lower"),
    "cer": Metric("CER", "%", ".1f", "lower"),
    "orcwer": Metric("ORC-WER", "%", ".1f", "lower"),
    "tcpwer": Metric("tcpWER", "%", ".1f", "lower"),
    "si_sdr_improvement": Metric("SI-SDR improvement", "dB", "+.2f"),
    "si_sdr": Metric("SI-SDR", "dB", ".2f"),
    "sdr_improvement": Metric("SDR improvement", "dB", "+.2f"),
    "sdr": Metric("SDR", "dB", ".2f"),
    "sir": Metric("SIR", "dB", ".2f"),
    "sar": Metric("SAR", "dB", ".2f"),
    "stoi": Metric("STOI", "", ".3f"),
    "estoi": Metric("ESTOI", "", ".3f"),
    "pesq": Metric("PESQ", "", ".2f"),
}
#: What the table of all recordings has for every column.
LISTED = {"si_sdr_improvement": "SI-SDRi", "estoi": "ESTOI", "pesq": "PESQ", "wer": "WER"}
#: And what it says of the recording itself.
KNOWN = ("overlap", "t60", "snr_db")


def render(
    title: str,
    split: str,
    columns: Sequence[Scored],
    every: Sequence[Item],
    details: Sequence[Detail],
    diagnoses: Sequence[tuple[str, Diagnosis]],
    training: Sequence[Chart],
    spread: Sequence[Chart],
    seconds: float,
) -> str:
    """The page as text."""
    style, script = _asset("page.css"), _asset("page.js")
    anchors = {one.item.name: f"recording-{number}" for number, one in enumerate(details, 1)}
    listed = [key for key in LISTED if any(one.get(key) is not None for item in every for one in item.records.values())]
    known = [key for key in KNOWN if any(key in conditions(item.mixture) for item in every)]
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template.filters["forceescape"] = lambda text: Markup.escape(str(text))
    return template.from_string(_asset("page.html")).render(
        generator=GENERATOR,
        title=title,
        subtitle=f"Separation and recognition of overlapping speech: split {split}, {len(every)} recordings",
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        columns=columns,
        summary=_summary(columns, every),
        about=_about(columns),
        summary_notes=_notes(columns),
        found=_answers(diagnoses, True, len(columns), anchors),
        absent=_answers(diagnoses, False, len(columns), anchors),
        unknown=_answers(diagnoses, None, len(columns), anchors),
        training=[_shown(chart) for chart in training],
        spread=[_shown(chart) for chart in spread],
        heads=_heads(columns, known, listed),
        facts=3 + len(known),
        metrics=len(listed),
        rows=[_row(item, len(columns), known, listed, anchors) for item in every],
        speakers=sorted({source.speaker for item in every for source in item.mixture.sources}),
        details=[_detail(one, columns, anchors[one.item.name]) for one in details],
        listen_note=_listen_note(details, len(every), seconds),
    )


def is_ours(path: Path) -> bool:
    """Whether a file is a report that may be written anew."""
    with path.open("rb") as file:
        return b'name="generator" content="sepasr ' in file.read(600)


def _asset(name: str) -> str:
    return (files("sepasr_cli.reporting") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _summary(columns: Sequence[Scored], every: Sequence[Item]) -> list[dict[str, Any]]:
    gains = [_gains(slot, every) for slot in range(len(columns))]
    rows = []
    for key, metric in METRICS.items():
        values = [column.summary.get(key) for column in columns]
        if all(value is None for value in values):
            continue
        cells = [
            {
                "value": metric.shown(value),
                "interval": _bracket(metric, (column.summary.get("intervals") or {}).get(key)),
                "gain": _gain(metric, gained.get(key)),
            }
            for column, value, gained in zip(columns, values, gains, strict=True)
        ]
        arrow = "\N{UPWARDS ARROW}" if metric.better == "higher" else "\N{DOWNWARDS ARROW}"
        rows.append(
            {"label": metric.label, "unit": metric.unit, "better": metric.better, "arrow": arrow, "cells": cells}
        )
    return rows


def _bracket(metric: Metric, bounds: Sequence[float] | None) -> str:
    return f"[{metric.shown(bounds[0])}, {metric.shown(bounds[1])}]" if bounds else ""


def _gains(slot: int, every: Sequence[Item]) -> dict[str, Difference]:
    """What a column has more than the first one in each metric, over the recordings that both have."""
    both = [(item.records[0], item.records[slot]) for item in every if slot and {0, slot} <= item.records.keys()]
    # Scores of earlier versions do not say of how much they are the mean.
    if not all("counts" in record for pair in both for record in pair):
        return {}
    first, second = ([parts_of(pair[place]) for pair in both] for place in (0, 1))
    return {found.metric: found for found in differences(first, second)}


def _gain(metric: Metric, found: Difference | None) -> dict[str, str] | None:
    if found is None:
        return None
    better = (found.difference > 0) == (metric.better == "higher")
    verdict = "undecided" if not found.real else "better" if better else "worse"
    signed = Metric(metric.label, metric.unit, metric.form if metric.form.startswith("+") else f"+{metric.form}")
    bounds = _bracket(signed, (found.low, found.high))
    return {"value": signed.shown(found.difference), "bounds": bounds, "verdict": verdict}


def _about(columns: Sequence[Scored]) -> list[dict[str, Any]]:
    def trained(column: Scored, stage: str) -> str:
        one = column.training.get(stage)
        if one is None or not one.kind:
            return "none"
        kind = "" if one.kind == stage else one.kind
        steps = f"{one.steps} steps" if one.steps is not None else ""
        unfinished = one.status if one.status not in ("finished", None) else ""
        return ", ".join(filter(None, (kind, steps, unfinished))) or one.kind

    rows = {
        "system": [column.system for column in columns],
        "separator": [trained(column, "separator") for column in columns],
        "recogniser": [trained(column, "recognizer") for column in columns],
        "joint fine-tuning": [
            trained(column, "joint") if column.system == "joint" else "not used" for column in columns
        ],
        "recordings scored": [str(len(column.recordings)) for column in columns],
        "signals against": [f"{column.summary.get('reference', '?')} references" for column in columns],
        "text": [column.text for column in columns],
    }
    return [{"label": label, "cells": cells} for label, cells in rows.items()]


def _notes(columns: Sequence[Scored]) -> list[str]:
    notes = ["These scores have no intervals; score the runs again to have them."]
    if any(column.summary.get("intervals") for column in columns):
        notes = ["In brackets: 95 % intervals by bootstrap over recordings."]
        if len(columns) > 1:
            notes[0] += (
                f" Below: the difference to {columns[0].name} on the recordings that both have, by paired bootstrap; "
                "better or worse where its interval leaves zero out."
            )
    for name, values in (
        ("references", {column.summary.get("reference") for column in columns}),
        ("normalisations of texts", {column.text for column in columns}),
        ("recordings", {frozenset(column.recordings) for column in columns}),
    ):
        if len(values) > 1:
            notes.append(f"The columns were scored with different {name}: compare them with care.")
    return notes


def _answers(
    diagnoses: Sequence[tuple[str, Diagnosis]], found: bool | None, columns: int, anchors: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The diagnoses with this answer, those of one name together."""
    cards: dict[str, dict[str, Any]] = {}
    for column, one in diagnoses:
        if one.found is not found:
            continue
        links = [{"name": name, "href": f"#{anchors[name]}" if name in anchors else ""} for name in one.recordings]
        card = cards.setdefault(one.name, {"name": one.name, "advice": one.advice if found else "", "answers": []})
        answer = {"evidence": one.evidence, "links": links if found else []}
        same = next((other for other in card["answers"] if {**other, "column": ""} == {**answer, "column": ""}), None)
        if same:
            same["column"] += f", {column}"
        else:
            card["answers"].append({**answer, "column": column if columns > 1 else ""})
    return list(cards.values())


def _listen_note(details: Sequence[Detail], recordings: int, seconds: float) -> str:
    tags = {one.tag for one in details}
    note = f"All {recordings} recordings, worst first."
    if len(details) < recordings:
        between = ", and some evenly chosen between them" if "" in tags else ""
        note = f"{len(details)} of {recordings} recordings: the worst, the best{between}; worst first."
    note += " A signal begins where the one that was playing is, so that both are heard at the same place."
    cards = [card for one in details for group in (one.given, *one.made.values()) for card in group]
    if any(card.clip and card.clip.cut for card in cards):
        note += f" Sound is cut after {seconds:.0f} s."
    return note


def _shown(chart: Chart) -> dict[str, Any]:
    legend = [{"name": one.name, "sample": Markup(sample(one))} for one in chart.legend]
    return {"title": chart.title, "svg": Markup(svg(chart)), "legend": legend}


def _heads(columns: Sequence[Scored], known: Sequence[str], listed: Sequence[str]) -> list[dict[str, Any]]:
    def head(label: str, unit: str = "", number: bool = True, full: str = "") -> dict[str, Any]:
        return {"label": label, "unit": unit, "number": number, "full": full or label}

    facts = [head("recording", number=False), head("speakers", number=False), head("length", "s")]
    facts += [head(QUANTITIES[key].label, QUANTITIES[key].unit or "%") for key in known]
    several = len(columns) > 1
    return facts + [
        head(LISTED[key], METRICS[key].unit, full=f"{LISTED[key]}, {column.name}" if several else LISTED[key])
        for column in columns
        for key in listed
    ]


def _row(
    item: Item, columns: int, known: Sequence[str], listed: Sequence[str], anchors: Mapping[str, str]
) -> dict[str, Any]:
    mixture = item.mixture
    speakers = [source.speaker for source in mixture.sources]
    found = conditions(mixture)

    def number(value: float | None, form: str) -> dict[str, Any]:
        if value is None:
            return {"text": "\N{EN DASH}", "value": None}
        return {"text": format(value, form).replace("-", "\N{MINUS SIGN}"), "value": round(value, 6)}

    cells: list[dict[str, Any]] = [{"text": item.name, "value": item.name}]
    cells.append({"text": ", ".join(speakers), "value": ""})
    cells.append(number(mixture.duration, ".1f"))
    for key in known:
        share = not QUANTITIES[key].unit
        value = found.get(key)
        cells.append(number(value * 100 if share and value is not None else value, ".0f" if share else ".2f"))
    for slot in range(columns):
        record = item.records.get(slot, {})
        for key in listed:
            value = record.get(key)
            cells.append(number(None if value is None else METRICS[key].number(value), METRICS[key].form))
    words = " ".join([item.name, *speakers, *(source.text or "" for source in mixture.sources)]).lower()
    anchor = anchors.get(item.name)
    return {"cells": cells, "words": words, "speakers": speakers, "href": f"#{anchor}" if anchor else ""}


def _detail(one: Detail, columns: Sequence[Scored], anchor: str) -> dict[str, Any]:
    mixture = one.item.mixture
    groups: list[dict[str, Any]] = [{"name": "", "slot": 0, "scores": [], "cards": one.given}]
    for slot, record in one.item.records.items():
        scores = [
            {"label": metric.label, "value": f"{metric.shown(record[key])} {metric.unit}"}
            for key, metric in METRICS.items()
            if record.get(key) is not None
        ]
        groups.append({"name": columns[slot].name, "slot": slot, "scores": scores, "cards": one.made[slot]})
    return {
        "anchor": anchor,
        "name": one.item.name,
        "tag": one.tag,
        "briefs": [
            {"slot": slot, "column": columns[slot].name, "text": _brief(one.item.records[slot])} for slot in one.made
        ],
        "facts": [{"label": label, "value": value} for label, value in one.facts],
        "plan": Markup(plan(mixture.room)) if mixture.room is not None else "",
        "across": min(1 + len(mixture.sources), 5),
        "groups": groups,
    }


def _brief(record: Mapping[str, Any]) -> str:
    known = (("wer", "WER"), ("si_sdr_improvement", "SI-SDRi"))
    return ", ".join(
        f"{label} {METRICS[key].shown(record[key])} {METRICS[key].unit}"
        for key, label in known
        if record.get(key) is not None
    )
