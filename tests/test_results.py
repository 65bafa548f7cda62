"""The figures of docs/RESULTS.md: which rows there are, what is measured of them, and how they get into the page."""

import doctest
import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sepasr_cli.errors import SepasrError
from sepasr_cli.files import write_json
from sepasr_cli.inference.pipeline import Pipeline
from sepasr_cli.joint import JointModel
from sepasr_cli.rundir import RunDir
from sepasr_cli.scoring.report import summarise

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def results() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "recipes" / "bundled"))
        yield importlib.import_module("results")


@pytest.fixture(scope="module")
def page(results: ModuleType) -> ModuleType:
    return importlib.import_module("results_page")


def row(errors: list[int], signals: float = 10.0) -> dict[str, Any]:
    """A row of recordings of ten words with so many errors each."""
    rates = [{"errors": count, "length": 10} for count in errors]
    recordings = [
        {
            "id": f"m{number}",
            "wer": rate["errors"] / 10,
            "errors": {"wer": rate},
            "counts": {"si_sdr_improvement": 2},
            "si_sdr_improvement": signals + number,
            "transcripts": [{"speaker": "a", "reference": f"SAID {number}", "hypothesis": None}],
        }
        for number, rate in enumerate(rates)
    ]
    summary = {"wer": sum(errors) / 10 / len(errors), "si_sdr_improvement": signals, "intervals": {"wer": [0.1, 0.3]}}
    return {"summary": summary, "recordings": recordings}


@pytest.mark.parametrize("name", ["results", "results_page"])
def test_examples_in_docstrings(results: ModuleType, name: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried > 0 and failed == 0


def test_rows_have_names_of_their_own_and_can_be_chosen(results: ModuleType) -> None:
    rows = results.all_rows(["finetune_low"])
    assert all(name == one.name and name.count("-") == 2 for name, one in rows.items())
    assert results.chosen_rows(["oracle_mvdr-noisy-2"], rows) == [results.Row("oracle_mvdr", "noisy", "2")]
    assert [one.setting for one in results.chosen_rows(["oracle_mvdr-noisy-*", "*-noisy-4"], rows)][:3] == [
        "1",
        "2",
        "4",
    ]
    with pytest.raises(SepasrError, match="'nothing-\\*' is no row"):
        results.chosen_rows(["nothing-*"], rows)


def test_every_condition_has_its_recipe(page: ModuleType) -> None:
    assert all((ROOT / "recipes" / "bundled" / f"test_{name}.yaml").is_file() for name in page.CONDITIONS)


def test_variants_are_the_runs_of_other_names(results: ModuleType, tmp_path: Path) -> None:
    for run in ("bundled", "bundled_mvdr", "bundled_one", "bundled_two", "bundled_finetune_low", "bundled_unfinished"):
        (tmp_path / run / "joint").mkdir(parents=True)
        if run != "bundled_unfinished":
            (tmp_path / run / "joint" / "model.safetensors").touch()
    assert results.find_variants(tmp_path) == ["finetune_low"]
    for name, found in (
        ("finetune_low-noisy-2", ("bundled_finetune_low", "joint")),
        ("oracle_mvdr-noisy-1", ("bundled", "cascade")),
        ("tfgridnet_joint-noisy-2", ("bundled", "joint")),
        ("tfgridnet_cascade-noisy-1", ("bundled_one", "cascade")),
        ("two_stage_adapted-noisy-1", ("bundled_separated", "cascade")),
        ("mask_mvdr_joint-noisy-1", ("bundled_mvdr", "joint")),
    ):
        assert results.models_of(results.Row(*name.split("-"))) == found


@pytest.mark.parametrize("system", ["mixture", "oracle_references", "oracle_mvdr", "tfgridnet_joint"])
def test_mixtures_are_scored(
    results: ModuleType, make_run: Callable[..., RunDir], tiny_joint: JointModel, system: str
) -> None:
    manifest = make_run(count=2).manifest("test")
    pipeline = Pipeline(tiny_joint)
    found = results._score_mixtures(results.Row(system, "noisy", "2"), pipeline, manifest)
    assert [one.id for one in found] == ["test_0", "test_1"]
    summary = summarise(found, "early", "basic")
    assert summary["counts"]["wer"] == 8 and summary["wer"] is not None
    if system == "mixture":
        assert summary["si_sdr_improvement"] == pytest.approx(0, abs=1e-6)
    if system == "oracle_references":
        assert summary["si_sdr"] > 60
    if system == "oracle_mvdr":
        assert summary["si_sdr_improvement"] > 5


def test_relative_errors_are_paired(page: ModuleType) -> None:
    """Where every recording has half of its errors left, no draw says anything else."""
    less, (low, high) = page.relative(row([4, 2, 6]), row([2, 1, 3]))
    assert less == pytest.approx(0.5) and (low, high) == pytest.approx((0.5, 0.5))
    assert page.gained(row([4, 2, 6], 9.0), row([2, 1, 3], 8.0), "si_sdr_improvement") == "-1.0 (-1.0 to -1.0)"


def test_targets_are_read_from_the_joint_system_or_the_cascade(page: ModuleType) -> None:
    rows = {"tfgridnet_cascade-noisy-2": row([4, 2, 6]), "tfgridnet_cascade-noisy-1": row([4, 2, 6])}
    assert {line[-1] for line in page.targets(rows)[1:]} == {f"`{name}`" for name in rows}
    rows["tfgridnet_joint-noisy-2"] = row([2, 1, 3])
    table = page.targets(rows)
    assert table[-1][0] == "joint fine-tuning against the cascade"
    assert table[-1][4:6] == ["50.0 % (50.0 to 50.0) less", "aim"]
    assert sum(line[-1] == "`tfgridnet_joint-noisy-2`" for line in table) == 2


def test_a_row_is_told_in_a_line(page: ModuleType) -> None:
    assert page.told(row([4, 2, 6])) == "WER 40.0 % (10.0 to 30.0), SI-SDR improvement (dB) 10.0"


def test_transcripts_are_the_first_ones(page: ModuleType) -> None:
    table = page.transcripts({"tfgridnet_joint-noisy-2": row([1] * 12)})
    assert [line[0] for line in table[1:]] == [f"m{number}" for number in range(10)]
    assert table[1] == ["m0", "10.0 %", "SAID 0", ""]


def test_curves_and_times_come_from_the_metrics(page: ModuleType, tmp_path: Path) -> None:
    lines = [
        '{"step": 10, "split": "train", "seconds_a_step": 360}',
        '{"step": 10, "split": "dev", "greedy_accuracy": 0.8, "clean_accuracy": 0.9, "si_sdr_improvement": 7}',
        '{"step": 20, "split": "tra',
    ]
    (tmp_path / "bundled" / "joint").mkdir(parents=True)
    (tmp_path / "bundled" / "joint" / "metrics.jsonl").write_text("\n".join(lines))
    assert page.training(tmp_path)[1:] == [["`bundled`", "joint", "10", "1.0", "80.0% tokens right"]]
    assert page.steps(tmp_path)[1:] == [["`bundled`", "10", "20.0%", "10.0%", "7.00"]]
    assert {chart.name for chart in page.charts({}, tmp_path)} == {
        "results_steps_words",
        "results_steps_signals",
        "results_steps_traded",
    }


def test_the_page_is_filled_again_and_again(page: ModuleType, tmp_path: Path) -> None:
    copy = tmp_path / "RESULTS.md"
    copy.write_text((ROOT / "docs" / "RESULTS.md").read_text())
    write_json(tmp_path / "rows" / "tfgridnet_joint-noisy-2.json", row([2, 1, 3]))
    page.fill_tables(tmp_path, tmp_path, copy)
    once = copy.read_text()
    assert "| two speakers, reverberant and noisy, 2 microphones | WER |" in once
    # What was not measured here has stayed.
    assert "| `mask_mvdr_cascade-noisy-4` |" in once and "| `bundled_mvdr` | joint |" in once
    page.fill_tables(tmp_path / "nothing", tmp_path, copy)
    assert copy.read_text() == once
    page.fill_tables(tmp_path, tmp_path, copy)
    assert copy.read_text() == once
    with pytest.raises(SepasrError, match="no marks <!-- table: targets -->"):
        page.filled(re.sub("table: targets", "", once), {"targets": ""})
