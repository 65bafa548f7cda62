"""Fine-tuning with a separator of its own for one microphone."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

import sepasr_cli
from sepasr_cli.errors import SepasrError
from sepasr_cli.pretrained import load_separator
from sepasr_cli.rundir import RunDir
from sepasr_cli.separation import ByMicrophones, TFGridNet


@pytest.fixture
def run(make_run: Callable[..., RunDir]) -> RunDir:
    """A run whose separator takes one or two microphones, and in `one` another for one."""
    made = make_run(4, joint=False)
    for split in ("train", "dev"):
        made.manifest(split).write_text(made.manifest("test").read_text())
    config = load_separator(str(made.path / "separator")).config
    for folder, changes in (("separator", {"fewer_microphones": True}), ("one", {"microphones": 1})):
        TFGridNet(config.model_copy(update=changes)).save_pretrained(made.path / folder)
    return made


def settings(run: RunDir, counts: Sequence[int], one: Path | None = None) -> list[str]:
    steps = ("max_steps=2", "validate_every=2", "batch_size=1", "accumulation=1", "reference=image", "optimizer=adam")
    steps = (*steps, f"microphone_counts={list(counts)}", f"one_microphone={one or run.path / 'one'}")
    return ["separation.fewer_microphones=true", *(f"joint_finetune.{step}" for step in steps)]


def changed(run: RunDir) -> set[str]:
    """Which of both separators are not as they were."""
    both = load_separator(str(run.path))
    assert isinstance(both, ByMicrophones)
    before = {"one": load_separator(str(run.path / "one")), "several": load_separator(str(run.path / "separator"))}
    states = {name: (model.state_dict(), both.get_submodule(name).state_dict()) for name, model in before.items()}
    return {name for name, (old, new) in states.items() if any(not torch.equal(old[key], new[key]) for key in old)}


@pytest.mark.parametrize(("count", "trained"), [(1, "one"), (2, "several")])
def test_each_is_trained_by_its_number_of_microphones(run: RunDir, count: int, trained: str) -> None:
    sepasr_cli.joint_finetune(run.path, overrides=settings(run, [count]), device="cpu")
    assert changed(run) == {trained}
    outcome = sepasr_cli.transcribe([run.path], split="test")
    outcome.check()


def test_two_processes_train_both(run: RunDir) -> None:
    """Where one process hears one microphone and the other several."""
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    overrides = [part for setting in settings(run, [1, 2]) for part in ("--set", setting)]
    command = [*launcher, "-m", "sepasr_cli", "joint-finetune", str(run.path), "--device", "cpu", *overrides]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert changed(run) == {"one", "several"}


def test_what_has_two_separators_gets_no_third(run: RunDir) -> None:
    sepasr_cli.joint_finetune(run.path, overrides=settings(run, [1]), device="cpu")
    (run.path / "joint").rename(run.path / "both")
    with pytest.raises(SepasrError, match=r"separators trained apart: .*one.kind.*by_microphones"):
        sepasr_cli.joint_finetune(run.path, overrides=settings(run, [1], run.path / "both"), device="cpu")


def test_what_was_fine_tuned_is_fine_tuned_again_with_another_for_one(run: RunDir) -> None:
    sepasr_cli.joint_finetune(run.path, overrides=settings(run, [1, 2]), device="cpu")
    first = (run.path / "joint").rename(run.path / "both")
    again = [*settings(run, [2]), f"joint_finetune.separator={first}"]
    sepasr_cli.joint_finetune(run.path, overrides=again, device="cpu")
    before, after = (load_separator(str(path)).state_dict() for path in (first, run.path))
    one = load_separator(str(run.path / "one")).state_dict()
    assert all(torch.equal(after[f"one.{name}"], value) for name, value in one.items())
    several = [name for name in after if name.startswith("several.")]
    drift = max(float((after[name] - before[name]).abs().max()) for name in several)
    assert 0 < drift < 0.01
