"""Everything a training needs to go on: weights, optimiser and counters, as plain data, never half-written."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sepasr_cli.errors import SepasrError
from sepasr_cli.files import atomic, write_json


def save_state(
    folder: Path,
    step: int,
    model: nn.Module,
    frozen: tuple[str, ...],
    optimizer: torch.optim.Optimizer,
    counters: dict[str, Any],
) -> None:
    """Write the state after `step` steps to `folder/step-N`; older ones go once it is whole."""
    target = folder / f"step-{step}"
    _save_tensors(target / "model.safetensors", _without(model.state_dict(), frozen))
    tensors, plain = _split_optimizer(optimizer)
    _save_tensors(target / "optimizer.safetensors", tensors)
    # Written last: a state without it is unfinished and ignored.
    write_json(target / "state.json", {"step": step, "optimizer": plain, **counters})
    for old in folder.glob("step-*"):
        if old != target:
            shutil.rmtree(old)


def load_state(
    folder: Path, model: nn.Module, frozen: tuple[str, ...], optimizer: torch.optim.Optimizer
) -> dict[str, Any] | None:
    """Fill model and optimiser from the newest whole state in `folder`.

    Returns:
        Its counters, `step` among them; None where there is no state.

    Raises:
        SepasrError: where the state is damaged, or does not fit the model.
    """
    whole = [path for path in folder.glob("step-*") if (path / "state.json").is_file()]
    if not whole:
        return None
    source = max(whole, key=lambda path: int(path.name.removeprefix("step-")))
    try:
        record = json.loads((source / "state.json").read_text(encoding="utf-8"))
        saved, state = (load_file(source / f"{name}.safetensors") for name in ("model", "optimizer"))
    except (SafetensorError, OSError, ValueError) as error:
        raise SepasrError(
            f"{source}: the saved state is damaged ({error}); copy it again, or pass --restart to train anew"
        ) from None
    wanted = _without(model.state_dict(), frozen)
    if saved.keys() != wanted.keys() or any(saved[name].shape != wanted[name].shape for name in saved):
        raise SepasrError(f"{source}: does not fit the model of the recipe; pass --restart to train anew")
    model.load_state_dict(saved, strict=False)
    _fill_optimizer(optimizer, state, record.pop("optimizer"))
    return record


def save_weights(path: Path, model: nn.Module, frozen: tuple[str, ...]) -> None:
    """Write the weights alone."""
    _save_tensors(path, _without(model.state_dict(), frozen))


def average_weights(paths: list[Path]) -> dict[str, Tensor]:
    """The mean of several files of weights; counters that are whole numbers come from the first."""
    states = [load_file(path) for path in paths]
    return {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(first.dtype)
        if first.is_floating_point()
        else first
        for name, first in states[0].items()
    }


def _without(state: dict[str, Tensor], frozen: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.startswith(frozen or ("\0",))}


def _save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    # Cloned: safetensors refuses tensors that share memory.
    with atomic(path) as temporary:
        save_file({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, temporary)


def _split_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The optimiser's state as named tensors and plain numbers."""
    state = optimizer.state_dict()
    tensors, numbers = {}, {}
    for index, values in state["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value
            elif value is not None:
                numbers[f"{index}.{key}"] = value
    return tensors, {"numbers": numbers, "groups": state["param_groups"]}


def _fill_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    state: dict[int, dict[str, Any]] = {}
    for name, value in [*tensors.items(), *plain["numbers"].items()]:
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": plain["groups"]})
