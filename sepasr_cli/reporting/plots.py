"""The charts of a report as files: SVG as they are on the page, PNG drawn by matplotlib."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sepasr_cli.errors import SepasrError
from sepasr_cli.files import atomic, write_text
from sepasr_cli.reporting.charts import COLOURS, DASHES, MARKS, Chart, axes, svg, tick_label

#: Marks by matplotlib's names.
MARKERS = dict(zip(MARKS, ("o", "s", "^", "D", "P", "|", "v"), strict=True))
#: Dots for each inch of PNG files.
DPI = 200


def require_matplotlib() -> None:
    """See that PNG files can be made, before any work.

    Raises:
        SepasrError: saying what to install.
    """
    if find_spec("matplotlib") is None:
        raise SepasrError("--plots: PNG files are made by matplotlib, which is not here; pip install 'sepasr[plots]'")


def write_plots(charts: Sequence[Chart], folder: Path) -> list[Path]:
    """Write each chart as `<name>.svg` and `<name>.png`; the files' paths."""
    written = []
    for chart in charts:
        write_text(folder / f"{chart.name}.svg", svg(chart, alone=True) + "\n")
        with atomic(folder / f"{chart.name}.png") as temporary:
            _figure(chart).savefig(temporary, dpi=DPI)
        written += [folder / f"{chart.name}.svg", folder / f"{chart.name}.png"]
    return written


def _figure(chart: Chart) -> Any:
    # Figure alone, without pyplot: no window system is asked for.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 3.2), layout="constrained")
    plot = figure.subplots()
    for series in chart.series:
        colour = COLOURS[series.slot % len(COLOURS)]
        xs, ys = [x for x, _ in series.points], [y for _, y in series.points]
        dash = _dash(series.slot)
        if series.kind == "points":
            plot.scatter(xs, ys, s=16, c=colour, marker=MARKERS[MARKS[series.slot % len(MARKS)]], label=series.name)
        elif series.kind == "steps":
            plot.stairs(ys[:-1], xs, fill=True, color=colour, alpha=0.14)
            plot.stairs(ys[:-1], xs, color=colour, linestyle=dash, linewidth=1.5, label=series.name)
        else:
            faint = {"linewidth": 0.8, "alpha": 0.55} if series.faint else {"linestyle": dash, "linewidth": 1.5}
            plot.plot(xs, ys, color=colour, label=series.name, **faint)
    x_ticks, y_ticks = axes(chart)
    plot.set_xticks(x_ticks, [tick_label(value, chart.x_share) for value in x_ticks])
    plot.set_yticks(y_ticks, [tick_label(value, chart.y_share) for value in y_ticks])
    plot.set(xlim=(x_ticks[0], x_ticks[-1]), ylim=(y_ticks[0], y_ticks[-1]))
    # A dollar sign would begin mathematics.
    plot.set_title(chart.title.replace("$", r"\$"), fontsize=10)
    plot.set_xlabel(chart.x)
    plot.set_ylabel(chart.y)
    plot.grid(axis="y", color="#d8dde3", linewidth=0.6)
    plot.set_axisbelow(True)
    plot.spines[["top", "right", "left"]].set_visible(False)
    if chart.legend:
        plot.legend(fontsize=8, frameon=False)
    return figure


def _dash(slot: int) -> Any:
    lengths = [float(part) / 2 for part in DASHES[slot % len(DASHES)].split()]
    return (0, lengths) if lengths else "-"
