import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sepasr_cli.errors import SepasrError
from sepasr_cli.randomness import generator
from sepasr_cli.training.loop import LoopConfig, StepResult, Trainer, rate_at

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Points:
    ids: list[str]
    x: Tensor
    y: Tensor

    def to(self, device):
        return Points(self.ids, self.x.to(device), self.y.to(device))


class Line(nn.Module):
    """Fits y = w x + b, with dropout and batch norm so that random state and buffers matter."""

    criterion = "fit"

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.layer, self.drop = nn.BatchNorm1d(3), nn.Linear(3, 1), nn.Dropout(0.2)

    def forward(self, batch):
        error = (self.layer(self.drop(self.norm(batch.x)))[:, 0] - batch.y) ** 2
        return StepResult(error, {"fit": -error})


def batches(number, poison=()):
    rng = generator(7, "points", number)
    x = torch.from_numpy(rng.standard_normal((8, 3))).float()
    y = x @ torch.tensor([1.0, -2.0, 0.5])
    if number in poison:
        y = y.clone()
        y[2] = math.nan
    return Points([f"{number}/{row}" for row in range(8)], x, y)


def trainer(folder, data=batches, task=None, **changes):
    settings = {
        "learning_rate": 0.05,
        "max_steps": 30,
        "validate_every": 5,
        "save_every": 4,
        "log_every": 2,
        "warmup_steps": 3,
        **changes,
    }
    folder.mkdir(exist_ok=True, parents=True)
    dev = [lambda number=number: batches(10_000 + number) for number in range(3)]
    return Trainer(task or Line(), data, dev, LoopConfig(**settings), folder, seed=1, device=CPU)


def weights(folder, step):
    return load_file(folder / "state" / f"step-{step}" / "model.safetensors")


def records(folder, split):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["split"] == split]


def test_training_fits_the_data(tmp_path):
    found = trainer(tmp_path / "run", max_steps=100)
    assert found.run() is True
    fits = [record["fit"] for record in records(tmp_path / "run", "dev")]
    assert fits[-1] > fits[0] and len(fits) == 20
    steps = [record["step"] for record in records(tmp_path / "run", "train")]
    assert steps == list(range(2, 101, 2))


def test_what_begins_trained_is_validated_before_the_first_step(tmp_path, monkeypatch):
    settings = {"max_steps": 12}
    trainer(tmp_path / "plain", **settings).run()
    monkeypatch.setattr(Line, "begins_trained", True, raising=False)
    while not trainer(tmp_path / "run", **settings).run(max_minutes=0):
        pass
    before, *others = records(tmp_path / "run", "dev")
    assert before["step"] == 0 and others == records(tmp_path / "plain", "dev")
    assert all(
        torch.equal(value, weights(tmp_path / "plain", 12)[name])
        for name, value in weights(tmp_path / "run", 12).items()
    )


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_run_cut_in_two_equals_one_run(tmp_path, optimizer, accumulation):
    """max_minutes=0 stops after a step; each time it is run again a new process would begin here."""
    settings = {"optimizer": optimizer, "accumulation": accumulation, "max_steps": 12, "plateau_patience": 0}
    trainer(tmp_path / "whole", **settings).run()
    pieces = 0
    while not trainer(tmp_path / "cut", **settings).run(max_minutes=0 if pieces < 8 else None):
        pieces += 1
    assert pieces >= 8
    one, two = weights(tmp_path / "whole", 12), weights(tmp_path / "cut", 12)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert records(tmp_path / "whole", "dev") == records(tmp_path / "cut", "dev")


def test_a_run_killed_between_saves_goes_on_from_the_last_state(tmp_path):
    def fails_at_eleven(number):
        if number == 10:
            raise KeyboardInterrupt
        return batches(number)

    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "cut", fails_at_eleven).run()
    assert [path.name for path in (tmp_path / "cut" / "state").iterdir()] == ["step-10"]
    trainer(tmp_path / "cut").run()
    trainer(tmp_path / "whole").run()
    one, two = weights(tmp_path / "whole", 30), weights(tmp_path / "cut", 30)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert [r["step"] for r in records(tmp_path / "cut", "train")] == list(range(2, 31, 2))


def test_an_unfinished_state_is_ignored(tmp_path):
    trainer(tmp_path / "run", max_steps=8).run()
    (tmp_path / "run" / "state" / "step-99").mkdir()
    (tmp_path / "run" / "state" / "step-99" / "model.safetensors").write_bytes(b"half")
    again = trainer(tmp_path / "run", max_steps=10)
    assert again.run() is True and again.progress.step == 10


def test_a_step_with_a_nan_is_skipped_counted_and_named(tmp_path, capsys):
    found = trainer(tmp_path / "run", lambda number: batches(number, poison=(4,)), max_steps=10)
    found.run()
    assert found.progress.bad_steps == 1
    assert "4/2" in capsys.readouterr().err
    state = weights(tmp_path / "run", 10)
    assert all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point())


def test_a_nan_step_leaves_no_trace(tmp_path):
    """Weights, optimiser and running statistics are those of before."""
    found = trainer(tmp_path / "run", lambda number: batches(number, poison=(3,)), max_steps=4, save_every=1)
    before = {}
    original = found._forgive

    def watched(bad, buffers):
        before.update({name: value.clone() for name, value in found.task.named_parameters()} | buffers)
        original(bad, buffers)

    found._forgive = watched
    found.run()
    after = dict(found.task.named_parameters()) | dict(found.task.named_buffers())
    assert before and all(torch.equal(before[name], after[name]) for name in before)


def test_too_many_nans_stop_the_training(tmp_path):
    found = trainer(tmp_path / "run", lambda number: batches(number, poison=range(100)), bad_steps=2)
    with pytest.raises(SepasrError, match=r"3 steps gave no number.*at most 2"):
        found.run()


def test_early_stopping_and_plateau(tmp_path):
    found = trainer(
        tmp_path / "run", max_steps=200, learning_rate=1e-12, early_stopping=4, plateau_patience=1, validate_every=1
    )
    assert found.run() is True
    # A rate of nothing changes nothing but the running statistics of the norm, which settle.
    assert found.progress.step < 200
    assert found.progress.rate_factor < 1


def test_the_best_weights_are_averaged_where_that_is_better(tmp_path):
    found = trainer(tmp_path / "run", max_steps=40, average_best=3)
    found.run()
    kept = sorted(path.name for path in (tmp_path / "run" / "best").iterdir())
    assert kept == sorted(f"step-{step}.safetensors" for _, step in found.progress.best) and len(kept) == 3
    scores = found.best()
    assert scores["fit"] >= max(value for value, _ in found.progress.best) - 1e-6


def test_the_rate_warms_up_and_decays():
    config = LoopConfig(learning_rate=1.0, warmup_steps=4, decay="cosine", max_steps=20)
    rates = [rate_at(step, config) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0] and rates[-1] == pytest.approx(0, abs=1e-9)
    assert rates[3:] == sorted(rates[3:], reverse=True)


SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
import test_loop
def slow(number):
    time.sleep(float(sys.argv[2]))
    return test_loop.batches(number)
task, accumulation = getattr(test_loop, sys.argv[4])(), int(sys.argv[5])
trainer = test_loop.trainer(Path(sys.argv[1]), slow, task, max_steps=int(sys.argv[3]), accumulation=accumulation)
trainer.run()
trainer.close()
"""


#: Before a script, that two processes run it together.
TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def _start(tmp_path, folder, pause, steps, launcher=(), task="Line", accumulation=1):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.format(here=str(Path(__file__).parent)))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(script), str(folder), str(pause), str(steps), task, str(accumulation)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_kill_9_loses_at_most_the_steps_since_the_last_state(tmp_path):
    process = _start(tmp_path, tmp_path / "cut", 0.05, 100)
    state = tmp_path / "cut" / "state"
    deadline = time.monotonic() + 60
    while not list(state.glob("step-[1-9][0-9]/state.json")):
        assert time.monotonic() < deadline and process.poll() is None, process.stdout.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # In processes of as many threads: sums over threads differ in their last bits.
    for folder in ("cut", "whole"):
        output, _ = _start(tmp_path, tmp_path / folder, 0, 100).communicate(timeout=120)
        assert (tmp_path / folder / "state" / "step-100").is_dir(), output
    one, two = weights(tmp_path / "whole", 100), weights(tmp_path / "cut", 100)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_two_processes_train_as_one(tmp_path):
    """torchrun on two CPU processes: both batches of a step reach the weights, one process writes."""
    process = _start(tmp_path, tmp_path / "two", 0, 6, TWO)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    state = weights(tmp_path / "two", 6)
    single = trainer(tmp_path / "one", max_steps=6)
    single.run()
    assert not torch.equal(state["layer.weight"], weights(tmp_path / "one", 6)["layer.weight"])
    lines = records(tmp_path / "two", "train")
    assert [record["step"] for record in lines] == [2, 4, 6]
    dev = records(tmp_path / "two", "dev")
    assert len(dev) == 2 and math.isfinite(dev[0]["fit"])


class Fork(nn.Module):
    """Two lines, of which two batches in turn go through each."""

    criterion = "fit"
    branches = True

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.ways = nn.ModuleList(nn.Linear(3, 1) for _ in range(2))

    def forward(self, batch):
        way = self.ways[int(batch.ids[0].split("/")[0]) // 2 % 2]
        error = (way(batch.x)[:, 0] - batch.y) ** 2
        return StepResult(error, {"fit": -error})


def test_processes_agree_on_weights_that_some_batches_pass_by(tmp_path):
    for folder, launcher, accumulation in (("one", (), 4), ("two", TWO, 2)):
        process = _start(tmp_path, tmp_path / folder, 0, 3, launcher, "Fork", accumulation)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    one, two = weights(tmp_path / "one", 3), weights(tmp_path / "two", 3)
    for name in one:
        torch.testing.assert_close(two[name], one[name])
