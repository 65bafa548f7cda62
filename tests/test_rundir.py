"""The run directory: when a stage runs, when it does not, and what is left of one that was stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import Mixture, Source, write_manifest
from sepasr_cli.recipe import load_recipe
from sepasr_cli.rundir import RunDir

SETTINGS = {"separation": {"blocks": 2, "kind": "tfgridnet"}, "seed": 1}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("seed: 3\ncorpora: {train: [{kind: folder, path: speech}]}\n")
    made = RunDir(tmp_path / "run")
    made.write_recipe(load_recipe(recipe))
    return made


def work(run: RunDir, settings: dict[str, Any] = SETTINGS, complete: bool = True, **more: Any) -> bool:
    """Whether the stage had anything to do."""
    with run.stage("separator", settings, **more) as stage:
        if not stage.finished:
            (stage.folder / "model.safetensors").write_text("weights")
            stage.results["loss"] = 0.5
            stage.complete = complete
        return not stage.finished


def record(run: RunDir) -> dict[str, Any]:
    return json.loads((run.path / "separator/stage.json").read_text())


def test_a_finished_stage_is_not_done_again(run: RunDir, capfd: pytest.CaptureFixture[str]) -> None:
    assert work(run)
    first = record(run)
    assert (first["status"], first["results"]) == ("finished", {"loss": 0.5})
    assert first["made_from"] == {"settings": SETTINGS, "inputs": {}}
    assert first["versions"]["torch"] and first["started"] <= first["ended"] and first["command"][0] == "sepasr"
    assert not work(run)
    assert f"{run.path}/separator: already done, nothing has changed" in capfd.readouterr().err
    assert record(run) == first


@pytest.mark.parametrize(
    ("settings", "inputs", "line"),
    [
        ({"separation": {"blocks": 3, "kind": "tfgridnet"}, "seed": 1}, {}, "separation.blocks = 2, now 3"),
        (SETTINGS | {"seed": 2}, {}, "seed = 1, now 2"),
        (SETTINGS, {"train mixtures": "b"}, r"other inputs \(train mixtures\)"),
        (SETTINGS, {"noise": "b", "train mixtures": "a"}, r"other inputs \(noise\)"),
    ],
)
def test_what_was_made_with_other_settings_is_not_touched(
    run: RunDir, settings: dict[str, Any], inputs: dict[str, str], line: str
) -> None:
    work(run, inputs={"train mixtures": "a"})
    before = record(run)
    with pytest.raises(SepasrError, match=f"^{run.path}/separator was made with {line}; pass --restart"):
        work(run, settings, inputs=inputs)
    assert record(run) == before


def test_a_setting_of_another_version_is_no_change(run: RunDir) -> None:
    work(run)
    assert not work(run, {"separation": {"blocks": 2, "kind": "tfgridnet", "new": 1}, "seed": 1})


def test_restart_puts_the_old_folder_aside(run: RunDir) -> None:
    work(run)
    (run.path / "separator/model.safetensors").write_text("old")
    assert work(run, SETTINGS | {"seed": 2}, restart=True)
    assert work(run, SETTINGS | {"seed": 3}, restart=True)
    assert (run.path / "separator.1/model.safetensors").read_text() == "old"
    assert record(run)["made_from"]["settings"]["seed"] == 3
    assert json.loads((run.path / "separator.2/stage.json").read_text())["made_from"]["settings"]["seed"] == 2


def test_another_goal_continues_in_the_same_folder(run: RunDir) -> None:
    work(run, goal={"max_steps": 10})
    started = record(run)["started"]
    (run.path / "separator/state").mkdir()
    assert work(run, goal={"max_steps": 20})
    assert (run.path / "separator/state").is_dir()
    assert (record(run)["goal"], record(run)["started"]) == ({"max_steps": 20}, started)
    assert not work(run, goal={"max_steps": 20})


def test_a_stage_that_is_not_complete_goes_on(run: RunDir) -> None:
    assert work(run, complete=False)
    assert record(run)["status"] == run.status("separator") == "stopped"
    assert work(run)
    assert run.status("separator") == "finished"


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (SepasrError("no such file"), "failed", "no such file"),
        (ZeroDivisionError("division"), "failed", "Traceback"),
        (KeyboardInterrupt(), "stopped", None),
    ],
)
def test_a_stage_that_raises_says_so_and_can_be_run_again(
    run: RunDir, error: BaseException, status: str, said: str | None
) -> None:
    with pytest.raises(type(error)), run.stage("separator", SETTINGS):
        raise error
    found = record(run)
    assert found["status"] == status and found["ended"]
    assert found.get("error") is None if said is None else found["error"].startswith(said)
    assert work(run)
    assert "error" not in record(run)


HOLD = """
import sys, time
from sepasr_cli.rundir import RunDir
with RunDir(sys.argv[1]).stage("separator", {"seed": 1}) as stage:
    (stage.folder / "half").write_text("done")
    print("inside", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other_process(run: RunDir) -> Iterator[subprocess.Popen[str]]:
    """Another process, in the middle of the stage."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(run.path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "inside\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_two_processes_never_work_on_one_stage(run: RunDir, other_process: subprocess.Popen[str]) -> None:
    for restart in (False, True):
        with pytest.raises(SepasrError, match="separator: another process is working on it; wait for it or stop it"):
            work(run, {"seed": 1}, restart=restart)
    # Another stage of the same run may be worked on.
    with run.stage("recognizer", {"seed": 1}) as stage:
        stage.complete = True


@pytest.mark.parametrize(("how", "status"), [(signal.SIGKILL, "running"), (signal.SIGINT, "stopped")])
def test_a_process_stopped_in_a_stage_leaves_it_ready_to_go_on(
    run: RunDir, other_process: subprocess.Popen[str], how: signal.Signals, status: str
) -> None:
    other_process.send_signal(how)
    other_process.wait()
    assert run.status("separator") == status
    assert (run.path / "separator/half").read_text() == "done"
    assert work(run, {"seed": 1})
    assert run.status("separator") == "finished"


def test_only_the_first_of_several_processes_writes(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with run.stage("separator", SETTINGS) as stage:
        assert not stage.finished
    assert not (run.path / "separator").exists()
    monkeypatch.setenv("RANK", "0")
    work(run)
    monkeypatch.setenv("RANK", "1")
    with run.stage("separator", SETTINGS) as stage:
        assert stage.finished


def test_a_run_that_was_moved_still_works(run: RunDir, tmp_path: Path) -> None:
    source = Source(speaker="ann", end=1.0, early="test/a/s1.flac")
    mixture = Mixture(id="a", audio="test/a/m.flac", sample_rate=8000, duration=1.0, sources=(source,))
    write_manifest(run.manifest("test"), [mixture])
    work(run)
    before = run.recipe()
    (tmp_path / "elsewhere").mkdir()
    shutil.move(run.path, tmp_path / "elsewhere/moved")
    moved = RunDir.open(tmp_path / "elsewhere/moved")
    assert moved.recipe() == before
    assert not work(moved)
    assert moved.require_manifest("test").is_file() and moved.require_model("separator").is_dir()


def test_the_recipe_is_written_where_it_differs(run: RunDir) -> None:
    before = run.recipe_path.stat().st_mtime_ns
    time.sleep(0.01)
    run.write_recipe(run.recipe())
    assert run.recipe_path.stat().st_mtime_ns == before
    run.write_recipe(load_recipe(run.recipe_path, ["seed=4"]))
    assert run.recipe().seed == 4


def test_no_run_directory(tmp_path: Path) -> None:
    with pytest.raises(SepasrError, match=r"nope: no such run directory; `sepasr simulate nope --recipe RECIPE` makes"):
        RunDir.open("nope")
    with pytest.raises(SepasrError, match=r"holds no recipe\.yaml; expected a run directory, give --recipe to make it"):
        RunDir.open(tmp_path)
    assert not RunDir.is_one(tmp_path)


def test_missing_manifests_say_what_there_is_and_what_makes_them(run: RunDir) -> None:
    with pytest.raises(SepasrError, match=r"no mixtures of split 'test' \(found none\); run `sepasr simulate /"):
        run.require_manifest("test")
    for name in ("train", "dev", "responses", "train.1-of-2"):
        write_manifest(run.manifest(name), [])
    with pytest.raises(SepasrError, match=r"'test' \(found dev, train\); run `sepasr simulate"):
        run.require_manifest("test")
    with pytest.raises(SepasrError, match=r"'tset' \(found dev, train\); expected train, dev, test"):
        run.require_manifest("tset")


@pytest.mark.parametrize(
    ("folder", "command"),
    [("separator", "pretrain-sep"), ("recognizer", "pretrain-asr"), ("joint", "joint-finetune")],
)
def test_missing_models_name_the_command_that_makes_them(run: RunDir, folder: str, command: str) -> None:
    with pytest.raises(SepasrError, match=f"{folder}: no trained model; run `sepasr {command} {run.path}` first"):
        run.require_model(folder)


def test_a_model_whose_training_goes_on_is_used_with_a_word(run: RunDir, capfd: pytest.CaptureFixture[str]) -> None:
    work(run, complete=False)
    run.require_model("separator")
    assert "its training has not finished; the best weights so far are used" in capfd.readouterr().err
    # One that was put there by hand has no record of a training.
    os.remove(run.path / "separator/stage.json")
    run.require_model("separator")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("text", "line"), [("{", "not JSON"), ("[]", "not a stage's record")])
def test_a_broken_record(run: RunDir, text: str, line: str) -> None:
    work(run)
    (run.path / "separator/stage.json").write_text(text)
    with pytest.raises(SepasrError, match=rf"stage\.json: {line}.*; restore the file or move the folder .* away"):
        work(run)


def test_a_run_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SepasrError, match=r"run/separator: cannot be written \(.*\); check the path and its rights"):
        work(RunDir(tmp_path / "file/run"))
