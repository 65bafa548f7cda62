"""Charts: what is drawn is where it should be, and words cannot break out."""

from itertools import pairwise
from xml.etree import ElementTree

import pytest

from sepasr_cli.manifest import Room
from sepasr_cli.reporting.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, Series, axes, plan, svg, ticks

CRUEL = '<script>alert("x")</script>'
KINDS = ("line", "points", "steps")


def chart(kind: str = "line", points: tuple = ((0, 0), (10, 100)), name: str = "one") -> Chart:  # type: ignore[type-arg]
    return Chart("c", f"title {name}", "across", "up", (Series(name, kind, points, labels=(name,) * len(points)),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-3.2, 17), (0.001, 0.0042), (5, 5), (0, 0), (1e6, 3e6), (-100, -99)]
)
def test_ticks_are_round_few_and_around_the_range(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low and found[-1] >= high and 3 <= len(found) <= 9
    steps = {round(b - a, 9) for a, b in pairwise(found)}
    assert len(steps) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alone", [True, False])
def test_svg_is_xml_that_escapes_words(kind: str, alone: bool) -> None:
    both = chart(kind, name=CRUEL)
    text = svg(Chart("c", CRUEL, CRUEL, CRUEL, both.series * 2), alone)
    root = ElementTree.fromstring(text)
    assert CRUEL not in text and CRUEL in "".join(root.itertext())
    assert not [node for node in root.iter() if node.tag.endswith("script")]


def test_points_are_drawn_to_scale() -> None:
    root = ElementTree.fromstring(svg(chart("points")))
    marks = [node.get("transform") for node in root.iter("path")]
    assert marks == [f"translate({LEFT:.1f} {HEIGHT - BOTTOM:.1f})", f"translate({WIDTH - RIGHT:.1f} {TOP:.1f})"]


def test_steps_begin_and_end_at_the_axis() -> None:
    drawn = svg(chart("steps", ((0, 1), (1, 3), (2, 0))))
    _, (top, *_, last) = axes(chart("steps", ((0, 1), (1, 3), (2, 0))))
    assert (top, last) == (0, 3)
    path = next(
        node for node in ElementTree.fromstring(drawn).iter("path") if node.get("class", "").startswith("stroke")
    ).get("d")
    assert (
        path is not None
        and path.startswith(f"M{LEFT:.1f} {HEIGHT - BOTTOM:.1f}V")
        and path.endswith(f"V{HEIGHT - BOTTOM:.1f}")
    )


def test_series_differ_without_colour() -> None:
    series = tuple(Series(str(slot), kind, ((0, 0), (1, 1)), slot) for slot in range(6) for kind in ("line", "points"))  # type: ignore[arg-type]
    root = ElementTree.fromstring(svg(Chart("c", "t", "x", "y", series)))
    dashes = [node.get("stroke-dasharray") for node in root.iter("path") if "stroke" in node.get("class", "")]
    marks = {node.get("d") for node in root.iter("path") if "mark" in node.get("class", "")}
    assert len(set(dashes)) == 6 and len(marks) == 6


def test_no_points_and_one_point() -> None:
    for points in ((), ((1.0, 2.0),)):
        ElementTree.fromstring(svg(chart("line", points)))


def test_a_room_is_to_scale() -> None:
    room = Room(size=(4, 8, 3), microphones=((2, 4, 1),), sources=((0, 0, 1), (4, 8, 1)))
    root = ElementTree.fromstring(plan(room))
    places = [(node.get("cx"), node.get("cy")) for node in root.iter("circle")]
    assert places == [("54.0", "104.0"), ("4.0", "204.0"), ("104.0", "4.0")]
