"""Charts as plain data, and as SVG: one description serves the page and the files.

A series is told from the others by colour and by its dashes or marks, so that colour is never needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Literal

from sepasr_cli.manifest import Room

Point = tuple[float, float]

#: Okabe and Ito's colours, told apart by almost everyone (https://jfly.uni-koeln.de/color/), on white and on black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DARK = ("#56b4e9", "#ff9e5e", "#2fd6a6", "#e9a3c9", "#f0c04a", "#9ad7ff")
# One more than colours: a seventh series has the first one's colour, but not its form.
DASHES = ("", "7 3", "2 3", "9 3 2 3", "5 5", "1 2", "9 2 2 2 2 2")
MARKS = ("circle", "square", "triangle", "diamond", "cross", "bar", "wedge")

WIDTH, HEIGHT = 440, 290
LEFT, RIGHT, TOP, BOTTOM = 56, 22, 12, 44


@dataclass(frozen=True)
class Series:
    """One set of points of a chart; `slot` numbers its colour and marks, `labels` say what each point is.

    Steps are (left edge, height); the last one closes the row with height 0.
    """

    name: str
    kind: Literal["line", "points", "steps"]
    points: tuple[Point, ...]
    slot: int = 0
    faint: bool = False
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chart:
    """A chart with its axes; a share is shown in per cent."""

    name: str
    title: str
    x: str
    y: str
    series: tuple[Series, ...]
    x_share: bool = False
    y_share: bool = False

    @property
    def legend(self) -> tuple[Series, ...]:
        """The series that the legend names: none where there is one alone."""
        return self.series if len(self.series) > 1 else ()


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that span a range.

    >>> ticks(0, 7.3)
    [0.0, 2.0, 4.0, 6.0, 8.0]
    """
    if high <= low:
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / count
    size = 10.0 ** floor(log10(raw))
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= raw * 0.999)
    return [round(number * step, 10) for number in range(floor(low / step), ceil(high / step) + 1)]


def axes(chart: Chart) -> tuple[list[float], list[float]]:
    """Where the ticks of both axes are; the first and last are the axes' ends."""
    xs = [x for series in chart.series for x, _ in series.points] or [0.0]
    ys = [y for series in chart.series for _, y in series.points] or [0.0]
    if any(series.kind == "steps" for series in chart.series):
        ys.append(0.0)
    return ticks(min(xs), max(xs)), ticks(min(ys), max(ys))


def tick_label(value: float, share: bool) -> str:
    """A tick's number.

    >>> tick_label(0.5, True), tick_label(2000, False)
    ('50%', '2000')
    """
    return f"{value:.0%}" if share else f"{value:g}".replace("-", "\N{MINUS SIGN}")


def svg(chart: Chart, alone: bool = False) -> str:
    """The chart as SVG; `alone` makes it a file of its own, on white, with its styles in it.

    All words are escaped. Within the page the styles are the page's.
    """
    x_ticks, y_ticks = axes(chart)
    legend = chart.legend
    drop = 18 * len(legend) if alone else 0
    head = 26 if alone else 0
    height = HEIGHT + head + drop

    def place(point: Point) -> Point:
        across = (point[0] - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        up = (point[1] - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), head + HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    bottom, top = head + HEIGHT - BOTTOM, head + TOP
    parts = []
    for value in y_ticks:
        y = place((x_ticks[0], value))[1]
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">'
            f"{tick_label(value, chart.y_share)}</text>"
        )
    for value in x_ticks:
        x = place((value, y_ticks[0]))[0]
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">'
            f"{tick_label(value, chart.x_share)}</text>"
        )
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="label" x="{middle}" y="{bottom + 37}" text-anchor="middle">{escape(chart.x)}</text>')
    centre = (top + bottom) / 2
    parts.append(
        f'<text class="label" transform="translate(13 {centre:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(chart.y)}</text>"
    )
    parts += [_drawn(series, [place(point) for point in series.points], bottom) for series in chart.series]
    if alone:
        parts.append(f'<text class="title" x="{LEFT}" y="20">{escape(chart.title)}</text>')
        for row, series in enumerate(legend):
            y = head + HEIGHT + 18 * row + 4
            parts.append(f'<g transform="translate({LEFT} {y})">{sample(series)}</g>')
            parts.append(f'<text class="label" x="{LEFT + 36}" y="{y + 4}">{escape(series.name)}</text>')
    extra = ' xmlns="http://www.w3.org/2000/svg"' if alone else ""
    style = f'<style>{_STYLE}</style><rect class="paper" width="100%" height="100%"/>' if alone else ""
    return (
        f'<svg{extra} class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(_spoken(chart))}">'
        f"{style}{''.join(parts)}</svg>"
    )


def sample(series: Series) -> str:
    """A stroke of a series for a legend, 28 x 0 around its middle."""
    if series.kind == "points":
        return _mark(14, 0, series)
    return f'<path class="{_classes(series)}" d="M0 0H28"{_dash(series)}/>'


def _spoken(chart: Chart) -> str:
    names = ", ".join(dict.fromkeys(series.name for series in chart.series))
    return f"{chart.title}: {chart.y} against {chart.x}; {names}"


def _drawn(series: Series, places: Sequence[Point], bottom: float) -> str:
    if not places:
        return ""
    if series.kind == "points":
        labels = series.labels or ("",) * len(places)
        return "".join(_mark(x, y, series, label) for (x, y), label in zip(places, labels, strict=True))
    if series.kind == "line":
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        marks = "".join(_mark(x, y, series) for x, y in places) if len(places) <= 12 and not series.faint else ""
        return f'<path class="{_classes(series)}" d="{path}"{_dash(series)}/>{marks}'
    # Steps: up at each left edge, over to the next one.
    path = f"M{places[0][0]:.1f} {bottom:.1f}"
    for (x, y), (end, _) in zip(places, [*places[1:], places[-1]], strict=True):
        path += f"V{y:.1f}H{end:.1f}" if (x, y) != places[-1] else f"V{bottom:.1f}"
    return (
        f'<path class="fill c{series.slot % len(COLOURS)}" d="{path}Z"/>'
        f'<path class="{_classes(series)}" d="{path}"{_dash(series)}/>'
    )


def _classes(series: Series) -> str:
    return f"stroke c{series.slot % len(COLOURS)}" + (" faint" if series.faint else "")


def _dash(series: Series) -> str:
    dash = DASHES[series.slot % len(DASHES)]
    return f' stroke-dasharray="{dash}"' if dash and not series.faint else ""


def _mark(x: float, y: float, series: Series, label: str = "") -> str:
    shapes = {
        "circle": "M-3.2 0A3.2 3.2 0 1 0 3.2 0A3.2 3.2 0 1 0-3.2 0Z",
        "square": "M-2.9-2.9H2.9V2.9H-2.9Z",
        "triangle": "M0-3.8L3.6 2.6H-3.6Z",
        "diamond": "M0-4L4 0L0 4L-4 0Z",
        "cross": "M-3.4-1.1H-1.1V-3.4H1.1V-1.1H3.4V1.1H1.1V3.4H-1.1V1.1H-3.4Z",
        "bar": "M-1.3-4H1.3V4H-1.3Z",
        "wedge": "M0 3.8L3.6-2.6H-3.6Z",
    }
    shape = shapes[MARKS[series.slot % len(MARKS)]]
    inner = f"<title>{escape(label)}</title>" if label else ""
    return (
        f'<path class="mark c{series.slot % len(COLOURS)}" transform="translate({x:.1f} {y:.1f})" d="{shape}">'
        f"{inner}</path>"
    )


def plan(room: Room) -> str:
    """A shoebox from above, to scale: walls, microphones, and the talkers by number."""
    width, depth = room.size[0], room.size[1]
    scale = 200 / max(width, depth)

    def place(point: Sequence[float]) -> str:
        return f'cx="{point[0] * scale + 4:.1f}" cy="{(depth - point[1]) * scale + 4:.1f}"'

    parts = [f'<rect class="wall" x="4" y="4" width="{width * scale:.1f}" height="{depth * scale:.1f}"/>']
    parts += [f'<circle class="microphone" {place(point)} r="2.5"/>' for point in room.microphones]
    for number, point in enumerate(room.sources, 1):
        parts.append(f'<circle class="talker" {place(point)} r="10"/>')
        x, y = point[0] * scale + 4, (depth - point[1]) * scale + 4
        parts.append(f'<text x="{x:.1f}" y="{y + 5:.1f}" text-anchor="middle" font-size="14">{number}</text>')
    label = f"Room of {width:.1f} x {depth:.1f} m from above"
    box = f"0 0 {width * scale + 8:.1f} {depth * scale + 8:.1f}"
    return f'<svg viewBox="{box}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


_STYLE = (
    "text{font-family:system-ui,'DejaVu Sans',Arial,sans-serif;fill:#1a1f26}"
    ".tick{font-size:11px}.label{font-size:12px}.title{font-size:13px;font-weight:600}"
    ".paper{fill:#fff}.grid{stroke:#d8dde3}.axis{stroke:#5b6672}.stroke{fill:none;stroke-width:2}"
    ".faint{stroke-width:1;opacity:.55}.fill{opacity:.14}"
    + "".join(
        f".stroke.c{index}{{stroke:{colour}}}.mark.c{index},.fill.c{index}{{fill:{colour}}}"
        for index, colour in enumerate(COLOURS)
    )
)
