"""Reading what runs hold, and what is said where it is not there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sepasr_cli.errors import SepasrError
from sepasr_cli.reporting.collect import collect
from sepasr_cli.rundir import RunDir

MakeRun = Callable[..., RunDir]


def test_everything_scored_is_a_column(run: RunDir, other: RunDir) -> None:
    columns = collect([run.path, other.path], "test")
    assert [(one.name, one.system, one.folder) for one in columns] == [
        ("first joint", "joint", "test"),
        ("first cascade", "cascade", "test-cascade"),
        ("second", "joint", "test"),
    ]
    first = columns[0]
    assert first.summary["wer"] == 0 < columns[1].summary["wer"]
    assert list(first.recordings) == [f"test_{number}" for number in range(4)]
    assert (
        first.heard["test_0"]["spk1"] == '<script>alert("x")</script> & more'
        and len(first.seen) == 6
        and first.text == "none"
    )
    training = first.training["separator"]
    assert (training.status, training.kind, training.steps, training.dev) == (
        "finished",
        "separator",
        8,
        {"si_sdr_improvement": 0.8},
    )
    assert training.curve("dev", "loss") == [(4, 1.25), (8, 0.625)]
    assert len(training.curve("train", "loss")) == 8 and training.curve("train", "si_sdr") == []


def test_one_system_alone(run: RunDir) -> None:
    (column,) = collect([run.path], "test", ["cascade"])
    assert (column.name, column.folder) == ("first", "test-cascade")


@pytest.mark.parametrize(
    ("joint", "made", "system"),
    [
        ({"started": "2026-01-01"}, {"started": "2026-01-02"}, "joint"),
        ({"started": "2026-01-03"}, {"started": "2026-01-02"}, "cascade"),
        ({}, {}, "joint"),
        ({}, {"made_from": {"settings": {"model": "other/model", "system": None}}}, "other/model"),
        ({}, {"made_from": {"settings": {"model": None, "system": "cascade"}}}, "cascade"),
        (None, {"started": "2026-01-02"}, "cascade"),
    ],
)
def test_what_a_folder_was_made_with(
    new_run: MakeRun, joint: dict[str, str] | None, made: dict[str, Any], system: str
) -> None:
    run = new_run(count=1, systems=("joint",))
    (run.path / "separated/test/stage.json").write_text(json.dumps(made))
    if joint is None:
        (run.path / "joint/model.safetensors").unlink()
    else:
        (run.path / "joint/stage.json").write_text(json.dumps(joint))
    (column,) = collect([run.path], "test")
    assert column.system == system and column.name == "run"
    assert collect([run.path], "test", [system])[0].folder == "test"


def test_runs_of_one_name_are_told_apart(run: RunDir, tmp_path: Path) -> None:
    twin = tmp_path / "first"
    twin.symlink_to(run.path)
    with pytest.raises(SepasrError, match="given twice; name every run once"):
        collect([run.path, twin], "test")


@pytest.mark.parametrize(
    ("split", "systems", "line"),
    [
        ("dev", [], r"scores/dev: not scored \(found test, test-cascade\); run `sepasr score \S+ --split dev` first"),
        ("dev", ["joint"], r"dev-joint: not scored .*; run `sepasr score \S+ --split dev --system joint` first"),
    ],
)
def test_what_was_not_scored(run: RunDir, split: str, systems: list[str], line: str) -> None:
    with pytest.raises(SepasrError, match=line):
        collect([run.path], split, systems)


@pytest.mark.parametrize(
    ("file", "text", "line"),
    [
        ("scores/test/summary.json", "{", r"summary.json: not JSON .*; restore it, or run `sepasr score` again"),
        ("scores/test/summary.json", "[]", r"summary.json: found list, expected named values"),
        ("scores/test/recordings.jsonl", '{"id": "a"}\n{"i', r"recordings.jsonl:2: not JSON"),
        ("scores/test/recordings.jsonl", "{}", r"recordings.jsonl:1: expected a record with 'id'"),
        ("joint/metrics.jsonl", "x", r"metrics.jsonl:1: not JSON .*; restore it, or run `sepasr joint-finetune` again"),
    ],
)
def test_damaged_records(new_run: MakeRun, file: str, text: str, line: str) -> None:
    run = new_run(count=2, systems=("joint",))
    (run.path / file).write_text(text)
    with pytest.raises(SepasrError, match=line):
        collect([run.path], "test")


def test_without_training_and_without_records_of_recordings(new_run: MakeRun) -> None:
    run = new_run(count=2, systems=("cascade",))
    for stage in ("separator", "recognizer", "joint"):
        for file in (run.path / stage).iterdir():
            file.unlink()
        (run.path / stage).rmdir()
    assert collect([run.path], "test")[0].training == {}
    (run.path / "scores/test-cascade/recordings.jsonl").unlink()
    with pytest.raises(SepasrError, match=r"recordings.jsonl: no such file; restore it, or run `sepasr score` again"):
        collect([run.path], "test")
