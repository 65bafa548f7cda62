"""Scores for people: a table on the terminal, or the same as CSV, Markdown or LaTeX."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table

from sepasr_cli.scoring.bootstrap import Difference
from sepasr_cli.scoring.report import NOT_ASKED_FOR, RecordingScore

TableFormat = Literal["csv", "markdown", "latex"]
#: Label and form of each metric, in the order of the table.
FORMS: dict[str, tuple[str, str]] = {
    "si_sdr": ("SI-SDR (dB)", ".2f"),
    "sdr": ("SDR (dB)", ".2f"),
    "sir": ("SIR (dB)", ".2f"),
    "sar": ("SAR (dB)", ".2f"),
    "stoi": ("STOI", ".3f"),
    "estoi": ("ESTOI", ".3f"),
    "pesq": ("PESQ", ".2f"),
    "wer": ("WER", ".1%"),
    "cer": ("CER", ".1%"),
    "cpwer": ("cpWER", ".1%"),
    "orcwer": ("ORC-WER", ".1%"),
    "tcpwer": ("tcpWER", ".1%"),
}
RATES = ("wer", "cer", "cpwer", "orcwer", "tcpwer")


def summary_table(summary: Mapping[str, Any]) -> list[list[str]]:
    """The metrics that were scored, for people: a head, then a row each; the mixture is beside the estimate."""
    rows = [["", "mixture", "score", "95 %", "improvement", "95 %", "S/D/I", "of"]]
    for name, (label, form) in FORMS.items():
        if name in summary["unscored"]:
            continue
        errors, unit = "", "signals"
        if name in RATES:
            found = summary["errors"][name]
            errors = "/".join(str(found[kind]) for kind in ("substitutions", "deletions", "insertions"))
            unit = "characters" if name == "cer" else "words"
        gain = f"{name}_improvement"
        rows.append(
            [
                label,
                _shown(summary.get(f"{name}_mixture"), form),
                _shown(summary[name], form),
                _interval(summary["intervals"].get(name), form),
                _shown(summary.get(gain), f"+{form}"),
                _interval(summary["intervals"].get(gain), f"+{form}"),
                errors,
                f"{summary['counts'][name]} {unit}",
            ]
        )
    return rows


def summary_values(summary: Mapping[str, Any]) -> list[list[str]]:
    """The same for programs: one value a cell, as computed."""
    kinds = ("substitutions", "deletions", "insertions")
    rows = [["metric", "mixture", "score", "low", "high", "improvement", "improvement_low", "improvement_high"]]
    rows[0] += [*kinds, "count"]
    for name in FORMS:
        if name not in summary["unscored"]:
            gain = f"{name}_improvement"
            values = [summary.get(f"{name}_mixture"), summary[name], *_bounds(summary, name)]
            values += [summary.get(gain), *_bounds(summary, gain)]
            values += [summary["errors"].get(name, {}).get(kind) for kind in kinds]
            rows.append(
                [name, *("" if value is None else str(value) for value in values), str(summary["counts"][name])]
            )
    return rows


def comparison_table(differences: Sequence[Difference], first: str, second: str) -> list[list[str]]:
    """Every metric under both systems, for people."""
    rows = [["", first, second, "difference", "95 %", "p", "recordings", ""]]
    for one in differences:
        label, form = FORMS[one.metric]
        rows.append(
            [
                label,
                _shown(one.first, form),
                _shown(one.second, form),
                _shown(one.difference, f"+{form}"),
                _interval((one.low, one.high), f"+{form}"),
                f"{one.p_value:.4f}",
                str(one.recordings),
                verdict(one, first, second),
            ]
        )
    return rows


def comparison_values(differences: Sequence[Difference]) -> list[list[str]]:
    """The same for programs."""
    names = ("metric", "first", "second", "difference", "low", "high", "p_value", "recordings", "real")
    return [list(names), *([str(getattr(one, name)) for name in names] for one in differences)]


def verdict(one: Difference, first: str, second: str) -> str:
    """Which system is better, where the difference is real."""
    if not one.real:
        return "not shown"
    return f"{second if (one.difference > 0) != (one.metric in RATES) else first} is better"


def rendered(rows: Sequence[Sequence[str]], form: TableFormat) -> str:
    """Rows, the head first, in one of the formats for files; CSV keeps columns without content.

    >>> print(rendered([["", "a_b"], ["x", "5 %"]], "markdown"))
    |  | a_b |
    |---|---|
    | x | 5 % |
    >>> print(rendered([["", "a_b"], ["x", "5 %"]], "latex").splitlines()[2])
     & a\\_b \\\\
    """
    if form == "csv":
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        return text.getvalue().rstrip("\n")
    rows = _without_empty(rows)
    if form == "markdown":
        lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
        return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
    lines = [" & ".join(map(_latex, row)) + r" \\" for row in rows]
    columns = "l" + "r" * (len(rows[0]) - 1)
    head = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", lines[0], r"\midrule"]
    return "\n".join([*head, *lines[1:], r"\bottomrule", r"\end{tabular}"])


def print_table(rows: Sequence[Sequence[str]], title: str) -> None:
    """Rows, the head first, on the terminal; columns without content are left out, and no number is broken."""
    table = Table(box=box.SIMPLE_HEAD)
    head, *body = _without_empty(rows)
    for index, name in enumerate(head):
        table.add_column(name, justify="left" if index == 0 else "right", no_wrap=True)
    for row in body:
        table.add_row(*row)
    needed = Console(width=1000).measure(table).maximum
    console = Console(highlight=False, width=max(Console().width, needed))
    console.print(title, style="italic", markup=False, soft_wrap=True)
    console.print(table)


def remarks(summary: Mapping[str, Any]) -> list[str]:
    """What the table does not say: how texts were made equal, what was done, why metrics are missing; a line each."""
    lines = []
    if summary["counts"]["transcribed_recordings"]:
        collar = "" if "tcpwer" in summary["unscored"] else f", tcpWER within {summary['collar']:g} s"
        lines.append(
            f"text '{summary['text']}' on both sides; WER and CER under the best assignment of speakers{collar}"
        )
    lines += [f"{note} ({count}x)" for note, count in sorted(summary["notes"].items())]
    for reason in dict.fromkeys(summary["unscored"].values()):
        names = [FORMS[name][0].split()[0] for name, why in summary["unscored"].items() if why == reason]
        lines += [f"not scored: {', '.join(names)}: {reason}"] if reason != NOT_ASKED_FOR else []
    told = {f"{name}: {reason}" for name, reason in summary["unscored"].items()}
    return lines + [f"{why} ({count}x)" for why, count in sorted(summary["undefined"].items()) if why not in told]


def example(recording: RecordingScore) -> str:
    """Transcripts of one recording beside their references."""
    lines = [recording.id]
    for pair in recording.transcripts:
        lines += [
            f"  {pair.speaker} said:  {pair.reference}",
            f"  {' ' * len(pair.speaker)} heard: {pair.hypothesis or ''}",
        ]
    return "\n".join(line.rstrip() for line in lines)


def _without_empty(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The first column, and those with content below the head."""
    kept = [index for index in range(len(rows[0])) if index == 0 or any(row[index] for row in rows[1:])]
    return [[row[index] for index in kept] for row in rows]


def _latex(text: str) -> str:
    for sign in "\\&%$#_{}":
        text = text.replace(sign, rf"\{sign}" if sign != "\\" else r"\textbackslash ")
    return text


def _bounds(summary: Mapping[str, Any], name: str) -> Sequence[float | None]:
    found: Sequence[float | None] = summary["intervals"].get(name, (None, None))
    return found


def _interval(bounds: Sequence[float] | None, form: str) -> str:
    return "" if bounds is None else f"{bounds[0]:{form}} to {bounds[1]:{form}}"


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
