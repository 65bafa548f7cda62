"""Where ESPnet experiments lie - folders, packed zips, Hugging Face names - and what they hold, as plain data."""

import contextlib
import pickle
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from torch import Tensor

from sepasr_cli.errors import SepasrError
from sepasr_cli.files import inside
from sepasr_cli.hub import unavailable

CONFIG, META = "config.yaml", "meta.yaml"

#: What of a Hugging Face repository is downloaded.
PATTERNS = ["*.yaml", "*.pth"]


@dataclass(frozen=True)
class Experiment:
    """The settings of a trained model, and its weights by name."""

    config_path: Path
    weights_path: Path
    config: dict[str, Any]
    weights: dict[str, Tensor]


@contextlib.contextmanager
def experiments(source: str, checkpoint: str | None = None) -> Iterator[list[Experiment]]:
    """The experiments of a source: one, or a packed recogniser with its language model.

    Args:
        source: an experiment's folder (with config.yaml and checkpoints), a packed zip or its unpacked folder (with
            meta.yaml), or a Hugging Face name.
        checkpoint: which checkpoint of a folder to take.

    Raises:
        SepasrError: where there is none, or its files are not plain data.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(source)
        if folder.is_file():
            folder = _unpacked(folder, Path(temporary))
        elif not folder.is_dir():
            folder = _downloaded(source)
        if (folder / META).is_file():
            pairs = _packed(folder)
        elif (folder / CONFIG).is_file():
            pairs = [(folder / CONFIG, _checkpoint(folder, checkpoint))]
        else:
            raise SepasrError(f"{source}: holds neither {CONFIG} nor {META}; expected an experiment of ESPnet2")
        yield [Experiment(config, weights, read_config(config), read_weights(weights)) for config, weights in pairs]


def _downloaded(name: str) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=PATTERNS))
    except (HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError, ValueError, OSError) as error:
        raise unavailable(name, (META, CONFIG, "*.pth"), "give its path", error) from None


def _unpacked(archive: Path, folder: Path) -> Path:
    """Unpack the files that a packed experiment names into `folder`."""
    try:
        with zipfile.ZipFile(archive) as packed:
            names = [name for name in packed.namelist() if Path(name).name == META]
            if not names:
                raise SepasrError(f"{archive}: holds no {META}; expected an experiment packed by ESPnet2")
            packed.extract(names[0], folder)
            root = (folder / names[0]).parent
            for name in _named(root / META):
                member = str(Path(names[0]).parent / name)
                inside(folder, member)
                packed.extract(member, folder)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        reason = f"lacks {error.args[0]}" if isinstance(error, KeyError) else error
        raise SepasrError(f"{archive}: cannot be unpacked ({reason}); expected a zip packed by ESPnet2") from None
    return root


def _named(meta: Path) -> dict[str, str]:
    """The files that a meta.yaml names, by what they are."""
    values = read_config(meta)
    found = {**(values.get("files") or {}), **(values.get("yaml_files") or {})}
    if not found or not all(isinstance(name, str) for name in found.values()):
        raise SepasrError(f"{meta}: names no files; expected `files` and `yaml_files`")
    return {name: kind for kind, name in found.items()}


def _packed(folder: Path) -> list[tuple[Path, Path]]:
    """Configuration and checkpoint of each model that a meta.yaml names, as asr_train_config and asr_model_file."""
    kinds = {kind: name for name, kind in _named(folder / META).items()}
    pairs = []
    for kind, name in kinds.items():
        if kind.endswith("train_config"):
            stem = kind.removesuffix("train_config")
            weights = kinds.get(f"{stem}model_file", kinds.get(f"{stem}file"))
            if weights is None:
                raise SepasrError(f"{folder / META}: names {kind} without a checkpoint; expected {stem}model_file")
            pairs.append((inside(folder, name), inside(folder, weights)))
    if not pairs:
        raise SepasrError(f"{folder / META}: names no train_config; expected a model packed by ESPnet2")
    return pairs


def _checkpoint(folder: Path, name: str | None) -> Path:
    """The checkpoint asked for; else the averaged one, the best one, or the only one."""
    if name is not None:
        return inside(folder, name)
    found = sorted(folder.glob("*.pth"))
    for pattern in ("*.ave.pth", "*.ave_*best.pth", "*.best.pth", "*.pth"):
        fitting = [path for path in found if path.match(pattern)]
        if len({path.resolve() for path in fitting}) == 1:
            return fitting[0]
        if fitting:
            names = ", ".join(path.name for path in fitting)
            raise SepasrError(f"{folder}: holds {names}; choose one with --checkpoint")
    raise SepasrError(f"{folder}: holds no *.pth; expected checkpoints beside {CONFIG}")


def read_config(path: Path) -> dict[str, Any]:
    """The settings of a config.yaml or meta.yaml.

    Raises:
        SepasrError: where it is missing, or more than plain data.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SepasrError(f"{path}: no such file; copy the experiment again") from None
    except (yaml.YAMLError, ValueError) as error:
        problem = getattr(error, "problem", None) or str(error).replace("\n", " ")
        raise SepasrError(f"{path}: not plain YAML ({problem}); copy it again") from None
    if not isinstance(values, dict):
        raise SepasrError(f"{path}: found a {type(values).__name__}, expected settings as `key: value`")
    return values


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint, by name. Nothing that it holds is run.

    Raises:
        SepasrError: where it is missing, damaged, or holds anything but weights.
    """
    if not path.is_file():
        raise SepasrError(f"{path}: no such file; copy the experiment again")
    try:
        # Checkpoints of old PyTorch are no zips, and cannot be mapped.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError:
        raise SepasrError(
            f"{path}: holds more than weights, such as code, or no weights at all; nothing of it was run; expected a "
            "checkpoint of plain weights"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise SepasrError(f"{path}: cannot be read ({str(error).splitlines()[0][:120]}); copy it again") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise SepasrError(
            f"{path}: holds no weights by name; expected a model's checkpoint, such as valid.acc.best.pth"
        )
    return state
