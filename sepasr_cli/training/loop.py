"""One training loop for every stage: steps, validation, and states to go on from.

A task is a module whose `forward(batch)` gives a `StepResult`; data are functions of the step number. Nothing else
decides what a step does, so a run cut in two equals a run in one piece.
"""

import contextlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast, gather_object
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sepasr_cli.errors import SepasrError
from sepasr_cli.files import write_text
from sepasr_cli.progress import progress, say, warn
from sepasr_cli.randomness import generator
from sepasr_cli.settings import Settings
from sepasr_cli.training import checkpoint


class LoopConfig(Settings):
    """How long, how fast and how carefully to train."""

    batch_size: int = Field(12, gt=0, description="examples in one batch of one process")
    accumulation: int = Field(1, gt=0, description="batches in one step")
    max_steps: int = Field(40000, gt=0)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    clip: float = Field(5.0, gt=0, description="largest norm of the gradient")
    warmup_steps: int = Field(0, ge=0)
    decay: Literal["constant", "inverse_sqrt", "cosine"] = "constant"
    plateau_patience: int | None = Field(None, ge=0, description="validations without gain before the rate is lowered")
    plateau_factor: float = Field(0.5, gt=0, lt=1)
    early_stopping: int | None = Field(None, gt=0, description="validations without gain before training ends")
    validate_every: int = Field(1000, gt=0, description="steps")
    save_every: int = Field(200, gt=0, description="steps between two saved states")
    log_every: int = Field(20, gt=0, description="steps between two lines of metrics.jsonl")
    average_best: int = Field(5, gt=0, description="how many of the best validated weights are averaged in the end")
    precision: Literal["no", "bf16", "fp16"] = "no"
    bad_steps: int = Field(20, ge=0, description="steps with a NaN that are forgiven in all")
    data_workers: int = Field(0, ge=0, description="processes that prepare batches; 0: none beside the training")
    tensorboard: bool = False


@dataclass(frozen=True)
class StepResult:
    """What a task makes of a batch: the loss of each example, (B,), and what else is worth knowing of each, (B,)."""

    loss: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)


class Batch(Protocol):
    """Examples on their way to a task."""

    @property
    def ids(self) -> list[str]: ...

    def to(self, device: torch.device) -> "Batch": ...


class Batches(Protocol):
    """Batches by number; drawn from (seed, number) alone."""

    def __call__(self, number: int) -> Batch: ...


class _ByNumber(Dataset):
    def __init__(self, batches: Callable[[int], Batch], numbers: Sequence[int]) -> None:
        self.batches, self.numbers = batches, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Batch:
        return self.batches(self.numbers[index])


def load(batches: Callable[[int], Batch], numbers: Sequence[int], workers: int) -> DataLoader:
    """The batches of these numbers, in order; prepared by `workers` processes where there are any."""
    return DataLoader(
        _ByNumber(batches, numbers),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=_one_thread,
    )


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)


@dataclass
class Progress:
    """The counters of a training; saved with its state."""

    step: int = 0
    rate_factor: float = 1.0
    best: list[tuple[float, int]] = field(default_factory=list)
    without_gain: int = 0
    since_lowered: int = 0
    bad_steps: int = 0


def rate_at(step: int, config: LoopConfig) -> float:
    """The learning rate of a step, before any plateau; linear warm-up, then the decay asked for.

    >>> config = LoopConfig(learning_rate=1.0, warmup_steps=10, decay="inverse_sqrt", max_steps=100)
    >>> [round(rate_at(step, config), 2) for step in (0, 4, 9, 39)]
    [0.1, 0.5, 1.0, 0.5]
    """
    warmup = max(config.warmup_steps, 1)
    now = step + 1
    if now < warmup:
        return config.learning_rate * now / warmup
    if config.decay == "inverse_sqrt":
        return config.learning_rate * math.sqrt(warmup / now)
    if config.decay == "cosine":
        done = (now - warmup) / max(config.max_steps - warmup, 1)
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return config.learning_rate


class Trainer:
    """Trains one task in one folder: `metrics.jsonl`, `state/` and `best/` are kept there."""

    def __init__(
        self,
        task: nn.Module,
        train: Batches,
        dev: Sequence[Callable[[], Batch]],
        config: LoopConfig,
        folder: Path,
        *,
        seed: int,
        device: torch.device,
        frozen: tuple[str, ...] = (),
    ) -> None:
        """
        Args:
            task: `forward(batch) -> StepResult`, with `criterion`, the metric whose highest value is best; where it
                has `begins_trained`, what it begins with is validated as step 0; where it has `branches`, a batch may
                pass some weights by; where it has `derived(means)`, that tells more of the validation's means.
            train: batches by number.
            dev: makers of the validation's batches.
            frozen: prefixes of weights that are not trained and not kept.
        """
        if config.precision == "fp16" and device.type != "cuda":
            raise SepasrError(f"precision 'fp16' needs a CUDA device, found {device.type}; set precision to bf16 or no")
        # One process may train several tasks, each in its own precision.
        AcceleratorState._reset_state()
        across = DistributedDataParallelKwargs(find_unused_parameters=getattr(task, "branches", False))
        self.accelerator = Accelerator(
            mixed_precision=config.precision, cpu=device.type == "cpu", kwargs_handlers=[across]
        )
        self.config, self.folder, self.seed, self.frozen = config, folder, seed, frozen
        self.train_batches, self.dev = train, dev
        self.task = task
        self.criterion: str = task.criterion  # type: ignore[assignment]
        trained = [parameter for parameter in task.parameters() if parameter.requires_grad]
        self.optimizer = _make_optimizer(trained, config)
        self.model, self.prepared = self.accelerator.prepare(task, self.optimizer)
        self.progress = Progress()
        self.main = self.accelerator.is_main_process
        self.world, self.rank = self.accelerator.num_processes, self.accelerator.process_index

    def run(self, max_minutes: float | None = None, until: int | None = None) -> bool:
        """Train up to `max_steps`, going on from a saved state where there is one.

        Args:
            max_minutes: stop after so long.
            until: stop at this step, as if there were no more; the schedule is that of `max_steps`.

        Returns:
            True when training has come to its end, False when `max_minutes` cut it short.

        Raises:
            SepasrError: after more NaN steps than `bad_steps`.
        """
        deadline = None if max_minutes is None else time.monotonic() + 60 * max_minutes
        self._resume()
        config, state = self.config, self.progress
        if self._over():
            return True
        if state.step == 0 and getattr(self.task, "begins_trained", False):
            self._log({"step": 0, "split": "dev", **self.evaluate()})
        per_step = config.accumulation * self.world
        end = config.max_steps if until is None else min(until, config.max_steps)
        first, last = state.step * per_step, end * per_step
        numbers = range(first + self.rank, last, self.world)
        source = iter(load(self.train_batches, numbers, config.data_workers))
        recent: list[dict[str, float]] = []
        began, first_step = time.monotonic(), state.step
        with progress(self.folder.name, config.max_steps, done=state.step) as advance:
            while state.step < end:
                rate = rate_at(state.step, config) * state.rate_factor
                metrics = self._step([next(source) for _ in range(config.accumulation)], rate)
                recent.append(metrics)
                state.step += 1
                if state.step % config.log_every == 0 or state.step == config.max_steps:
                    means = _mean(recent)
                    recent = []
                    seconds = (time.monotonic() - began) / (state.step - first_step)
                    self._log(
                        {
                            "step": state.step,
                            "split": "train",
                            "learning_rate": rate,
                            "seconds_a_step": seconds,
                            **means,
                        }
                    )
                advance(note=f"loss {metrics['loss']:.3f} rate {rate:.1e}")
                at_end = state.step == config.max_steps
                validated = state.step % config.validate_every == 0 or at_end
                if validated:
                    self._validate()
                late = deadline is not None and time.monotonic() > deadline
                late = bool(self._agree(late))
                over = self._over()
                if validated or late or over or state.step == end or state.step % config.save_every == 0:
                    self._save()
                if over:
                    return True
                if late:
                    return False
        return True

    def _step(self, batches: list[Batch], rate: float) -> dict[str, float]:
        """One update of the weights; returns the means of its metrics, or nothing but a NaN where it was skipped."""
        state, config = self.progress, self.config
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        buffers = {
            name: value.clone() for name, value in self.task.named_buffers() if not name.startswith(self.frozen or "\0")
        }
        self.prepared.zero_grad()
        metrics: list[dict[str, float]] = []
        bad: list[str] = []
        for position, batch in enumerate(batches):
            # Drawn anew for each batch, so that dropout does not depend on what came before.
            torch.manual_seed(int(generator(self.seed, "step", state.step, position, self.rank).integers(2**62)))
            more = position < len(batches) - 1
            with self.accelerator.no_sync(self.model) if more else contextlib.nullcontext():
                result = self.model(batch.to(self.accelerator.device))
                loss = result.loss.mean()
                self.accelerator.backward(loss / len(batches))
            bad += [
                name for name, value in zip(batch.ids, result.loss.tolist(), strict=True) if not math.isfinite(value)
            ]
            metrics.append(
                {"loss": float(loss.detach())}
                | {key: float(value.detach().mean()) for key, value in result.metrics.items()}
            )
        norm = self.accelerator.clip_grad_norm_(self.task.parameters(), config.clip)
        if not bool(torch.isfinite(torch.as_tensor(norm))) and config.precision != "fp16":
            self._forgive(bad, buffers)
            return {"loss": math.nan}
        self.prepared.step()
        return _mean(metrics) | {"gradient_norm": float(norm)}

    def _forgive(self, bad: list[str], buffers: dict[str, Tensor]) -> None:
        """Undo what a step with a NaN did, and count it."""
        state = self.progress
        with torch.no_grad():
            for name, value in self.task.named_buffers():
                if name in buffers:
                    value.copy_(buffers[name])
        self.prepared.zero_grad()
        state.bad_steps += 1
        where = f"in {', '.join(bad[:4])}" if bad else "in the gradient"
        warn(f"step {state.step + 1}: not a number {where}; the step is skipped ({state.bad_steps} so far)")
        if state.bad_steps > self.config.bad_steps:
            raise SepasrError(
                f"{self.folder}: {state.bad_steps} steps gave no number, the last {where}; expected at most "
                f"{self.config.bad_steps}; lower the learning rate or leave these examples out"
            )

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """The means of loss and metrics over the validation's examples."""
        self.model.eval()
        sums: dict[str, Tensor] = {}
        count = torch.zeros((), dtype=torch.float64)
        for make in self.dev[self.rank :: self.world]:
            batch = make().to(self.accelerator.device)
            result = self.model(batch)
            for key, value in {"loss": result.loss, **result.metrics}.items():
                sums[key] = sums.get(key, torch.zeros((), dtype=torch.float64)) + value.double().cpu().sum()
            count += len(batch.ids)
        if self.world > 1:
            count, sums = self._across_processes(count, sums)
        means = {key: float(value / count) for key, value in sums.items()}
        derived = getattr(self.task, "derived", None)
        return means | derived(means) if derived and means else means

    def _across_processes(self, count: Tensor, sums: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Add up what each process has seen; a process may have seen nothing, and then knows no names."""
        seen = gather_object([(float(count), {key: float(value) for key, value in sums.items()})])
        names = sorted({name for _, part in seen for name in part})
        total = {
            name: torch.tensor(sum(part.get(name, 0.0) for _, part in seen), dtype=torch.float64) for name in names
        }
        return torch.tensor(sum(part for part, _ in seen), dtype=torch.float64), total

    def _validate(self) -> None:
        state, config = self.progress, self.config
        means = self.evaluate()
        self._log({"step": state.step, "split": "dev", **means})
        value = means.get(self.criterion, math.nan)
        say(
            f"{self.folder.name} step {state.step}: "
            + ", ".join(f"{key} {number:.3f}" for key, number in means.items())
        )
        gained = not state.best or value > max(known for known, _ in state.best)
        if math.isfinite(value):
            state.best = sorted([*state.best, (value, state.step)], reverse=True)[: config.average_best]
            if self.main and any(step == state.step for _, step in state.best):
                checkpoint.save_weights(self._weights(state.step), self.task, self.frozen)
        state.without_gain = 0 if gained else state.without_gain + 1
        state.since_lowered = 0 if gained else state.since_lowered + 1
        if config.plateau_patience is not None and state.since_lowered > config.plateau_patience:
            state.rate_factor *= config.plateau_factor
            state.since_lowered = 0

    def _over(self) -> bool:
        stop = self.config.early_stopping
        return self.progress.step >= self.config.max_steps or (stop is not None and self.progress.without_gain >= stop)

    def best(self) -> dict[str, float]:
        """Leave the task with its best weights: the mean of the best validated, or the very best where that is better.

        Returns:
            What validation says of them.
        """
        self.accelerator.wait_for_everyone()
        steps = [step for _, step in self.progress.best]
        if not steps:
            return {}
        candidates = [load_file(self._weights(steps[0]))]
        if len(steps) > 1:
            candidates.append(checkpoint.average_weights([self._weights(step) for step in steps]))
        scored = []
        for weights in candidates:
            self.task.load_state_dict(weights, strict=False)
            scored.append(self.evaluate())
        found = max(range(len(scored)), key=lambda index: scored[index].get(self.criterion, -math.inf))
        self.task.load_state_dict(candidates[found], strict=False)
        return scored[found] | {"averaged": float(len(steps) if found else 1)}

    def close(self) -> None:
        """Let go of the other processes, when all have come to the end; nothing can be trained afterwards."""
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()

    def _weights(self, step: int) -> Path:
        return self.folder / "best" / f"step-{step}.safetensors"

    def _save(self) -> None:
        if not self.main:
            return
        counters = {key: value for key, value in vars(self.progress).items() if key != "step"}
        checkpoint.save_state(
            self.folder / "state", self.progress.step, self.task, self.frozen, self.optimizer, counters
        )
        kept = {self._weights(step) for _, step in self.progress.best}
        for path in (self.folder / "best").glob("*.safetensors"):
            if path not in kept:
                path.unlink()

    def _resume(self) -> None:
        record = checkpoint.load_state(self.folder / "state", self.task, self.frozen, self.optimizer)
        metrics = self.folder / "metrics.jsonl"
        if record is None:
            if self.main:
                write_text(metrics, "")
            return
        record["best"] = [(value, step) for value, step in record["best"]]
        self.progress = Progress(**record)
        if self.main and metrics.is_file():
            # Lines written after the state was are made again.
            lines = [line for line in metrics.read_text().splitlines(True) if _step_of(line) <= self.progress.step]
            write_text(metrics, "".join(lines))
            say(f"{self.folder.name}: goes on from step {self.progress.step}")

    def _log(self, record: dict[str, Any]) -> None:
        if not self.main:
            return
        rounded = {key: round(value, 7) if isinstance(value, float) else value for key, value in record.items()}
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(rounded) + "\n")
        if self.config.tensorboard:
            self._tensorboard(record)

    def _tensorboard(self, record: dict[str, Any]) -> None:
        if not hasattr(self, "writer"):
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise SepasrError("tensorboard: true needs TensorBoard; `pip install sepasr[tensorboard]`") from None
            self.writer = SummaryWriter(str(self.folder / "tensorboard"), purge_step=record["step"])
        for key, value in record.items():
            if isinstance(value, float):
                self.writer.add_scalar(f"{record['split']}/{key}", value, record["step"])
        self.writer.flush()

    def _agree(self, flag: bool) -> bool:
        """The main process's answer, in every process."""
        if self.world == 1:
            return flag
        return bool(broadcast(torch.tensor(int(flag), device=self.accelerator.device), 0))


def _make_optimizer(parameters: list[nn.Parameter], config: LoopConfig) -> torch.optim.Optimizer:
    common: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=config.momentum, **common)
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, **common)


def _mean(records: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each key over the records that hold it, NaN left out."""
    result = {}
    for key in dict.fromkeys(key for record in records for key in record):
        values = [record[key] for record in records if math.isfinite(record.get(key, math.nan))]
        result[key] = sum(values) / len(values) if values else math.nan
    return result


def _step_of(line: str) -> float:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        # The last line of a process that was killed while it wrote.
        return math.inf
