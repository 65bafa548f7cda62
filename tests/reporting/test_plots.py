"""Charts as files."""

import importlib.util
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sepasr_cli.errors import SepasrError
from sepasr_cli.reporting import plots
from sepasr_cli.reporting.charts import Chart, Series

CHARTS = [
    Chart(
        "curve",
        "costs $5_x",
        "step",
        "loss $",
        (Series("a$", "line", ((0, 1), (5, 2))), Series("b", "line", ((0, 2), (5, 1)), 1, True)),
    )
] + [
    Chart(kind, kind, "x", "y", (Series("a", kind, ((0, 1), (1, 3), (2, 0))),), y_share=True)  # type: ignore[arg-type]
    for kind in ("points", "steps")
]


def test_svg_and_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    written = plots.write_plots(CHARTS, tmp_path / "plots")
    assert [path.name for path in written] == [f"{one.name}.{kind}" for one in CHARTS for kind in ("svg", "png")]
    for path in written:
        if path.suffix == ".svg":
            assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
        else:
            assert path.read_bytes().startswith(b"\x89PNG\r\n") and path.stat().st_size > 5000


def test_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    with pytest.raises(SepasrError, match=r"pip install 'sepasr\[plots\]'"):
        plots.require_matplotlib()
    monkeypatch.setattr(plots, "find_spec", importlib.util.find_spec)
