"""The run directory: where each stage keeps what it made, what made it, and whether it is whole."""

import contextlib
import json
import os
import platform
import shutil
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from sepasr_cli.errors import SepasrError
from sepasr_cli.files import read_json, write_json, write_text
from sepasr_cli.manifest import DATASET, SPLITS
from sepasr_cli.progress import say

if TYPE_CHECKING:
    from sepasr_cli.recipe import Recipe

#: Folder of each stage that makes something, and the command that makes it.
COMMANDS = {
    "data": "simulate",
    "separator": "pretrain-sep",
    "recognizer": "pretrain-asr",
    "language_model": "pretrain-lm",
    "joint": "joint-finetune",
}


def is_main_process() -> bool:
    """True in the process that writes: the only one, or the first that torchrun or accelerate started."""
    return int(os.environ.get("RANK", "0")) == 0


@dataclass
class Stage:
    """One stage at work in its folder. `complete` is set by the stage when all of its work is done."""

    folder: Path
    finished: bool
    complete: bool = False
    results: dict[str, Any] = field(default_factory=dict)


class RunDir:
    """A folder that holds one experiment. All paths in it are relative, so that it can be moved."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @classmethod
    def open(cls, path: Path | str) -> "RunDir":
        """The run directory at `path`.

        Raises:
            SepasrError: where there is none.
        """
        run = cls(path)
        if not run.path.is_dir():
            raise SepasrError(f"{path}: no such run directory; `sepasr simulate {path} --recipe RECIPE` makes one")
        if not run.recipe_path.is_file():
            raise SepasrError(f"{path}: holds no recipe.yaml; expected a run directory, give --recipe to make it one")
        return run

    @classmethod
    def begin(cls, path: Path | str, recipe: Path | None, overrides: Sequence[str]) -> "tuple[RunDir, Recipe]":
        """The run directory, new where `recipe` is given, and the recipe in force: that one or its own, with overrides.

        Raises:
            SepasrError: where there is no run and no recipe is given, or the recipe is wrong.
        """
        from sepasr_cli.recipe import load_recipe

        run = cls(path) if recipe is not None else cls.open(path)
        return run, load_recipe(recipe or run.recipe_path, overrides)

    @staticmethod
    def is_one(path: Path) -> bool:
        """Whether `path` is a run directory."""
        return (path / "recipe.yaml").is_file()

    @property
    def recipe_path(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    def recipe(self) -> "Recipe":
        """The recipe in force."""
        from sepasr_cli.recipe import load_recipe

        return load_recipe(self.recipe_path)

    def write_recipe(self, recipe: "Recipe") -> None:
        """Keep `recipe` as the one in force; written only where it differs."""
        text = recipe.to_yaml()
        if is_main_process() and not (self.recipe_path.is_file() and self.recipe_path.read_text("utf-8") == text):
            write_text(self.recipe_path, text)

    @property
    def data(self) -> Path:
        """Folder of manifests and audio."""
        return self.path / "data"

    def manifest(self, split: str) -> Path:
        """The manifest of a split; may not exist yet."""
        return self.data / f"{split}.jsonl"

    def require_manifest(self, split: str) -> Path:
        """The manifest of a split.

        Raises:
            SepasrError: saying which splits there are and what makes them.
        """
        path = self.manifest(split)
        if not path.is_file():
            found = sorted(other.stem for other in self.data.glob("*.jsonl")) if self.data.is_dir() else []
            # Neither the bank of responses nor a part of a split is one.
            found = [name for name in found if name != "responses" and "." not in name]
            there = f"found {', '.join(found)}" if found else "found none"
            remedy = f"run `sepasr simulate {self.path}`"
            if split not in SPLITS:
                remedy = f"expected {', '.join(SPLITS)}"
            elif found:
                remedy += f", with simulation.mixtures.{split} above 0"
            raise SepasrError(f"{path}: no mixtures of split '{split}' ({there}); {remedy}")
        self._check_link()
        return path

    def _check_link(self) -> None:
        """See that the link to a published set leads where the recipe says: manifests may name what lies there."""
        link = self.data / DATASET
        if not link.is_symlink():
            return
        dataset = self.recipe().dataset
        if dataset is None:
            raise SepasrError(f"{link}: leads to {link.readlink()}, the recipe names no dataset; remove the link")
        if not link.is_dir() or link.resolve() != dataset.path.resolve():
            there = "" if link.is_dir() else ", which is not there"
            raise SepasrError(
                f"{link}: leads to {link.readlink()}{there}; the recipe's dataset is in {dataset.path}; run "
                f"`sepasr simulate {self.path}`, with --set root=FOLDER or --set dataset.path=FOLDER where it has moved"
            )

    def require_model(self, folder: str) -> Path:
        """The folder of a trained model: separator, recognizer, language_model or joint.

        Raises:
            SepasrError: naming the command that makes it.
        """
        path = self.path / folder
        if not (path / "model.safetensors").is_file():
            raise SepasrError(f"{path}: no trained model; run `sepasr {COMMANDS[folder]} {self.path}` first")
        if self.status(folder) not in ("finished", None):
            say(f"{path}: its training has not finished; the best weights so far are used")
        return path

    def status(self, folder: str) -> str | None:
        """What `stage.json` of a folder says: running, stopped, failed, finished; None where there is none."""
        return _read_record(self.path / folder).get("status")

    @contextlib.contextmanager
    def stage(
        self,
        folder: str,
        settings: Mapping[str, Any],
        inputs: Mapping[str, str] | None = None,
        goal: Mapping[str, Any] | None = None,
        restart: bool = False,
    ) -> Iterator[Stage]:
        """Work on one folder of the run, alone, and keep a record of it in `stage.json`.

        Args:
            folder: name below the run directory.
            settings: values the result depends on; plain data.
            inputs: fingerprints of what the stage reads.
            goal: values that may change while earlier work stays valid, such as the number of steps.
            restart: put earlier work of other settings aside and begin again.

        Raises:
            SepasrError: where another process works on the folder, or it was made with other settings or inputs.
        """
        path = self.path / folder
        made_from = json.loads(json.dumps({"settings": settings, "inputs": inputs or {}}, default=str))
        wanted = json.loads(json.dumps(goal or {}, default=str))
        if not is_main_process():
            record = _read_record(path)
            done = record.get("status") == "finished" and record.get("goal") == wanted
            yield Stage(path, done and not restart)
            return
        aside: Path | None = None
        with _only_one(path):
            record = _read_record(path)
            if record:
                changed = _difference(record.get("made_from", {}), made_from)
                if changed and not restart:
                    raise SepasrError(
                        f"{path} was made with {changed}; pass --restart to make it again (the old one is kept aside), "
                        "or use another run directory"
                    )
                if restart:
                    aside = _set_aside(path)
                    record = {}
                elif record.get("status") == "finished" and record.get("goal") == wanted:
                    say(f"{path}: already done, nothing has changed")
                    yield Stage(path, finished=True)
                    return
            record = {
                "status": "running",
                "command": ["sepasr", *sys.argv[1:]],
                "made_from": made_from,
                "goal": wanted,
                "started": record.get("started") or _now(),
                "ended": None,
                "versions": _versions(),
                "results": {},
            }
            write_json(path / "stage.json", record)
            stage = Stage(path, finished=False)
            try:
                yield stage
            except BaseException as error:
                if aside is not None and isinstance(error, SepasrError) and _is_worthless(path):
                    shutil.rmtree(path)
                    aside.rename(path)
                    say(f"{path}: nothing was made, earlier work is back in its place")
                    raise
                ended = {"status": "stopped" if isinstance(error, KeyboardInterrupt) else "failed", "ended": _now()}
                if not isinstance(error, KeyboardInterrupt):
                    ended["error"] = str(error) if isinstance(error, SepasrError) else traceback.format_exc()
                # What went wrong must not be hidden by a disk that is full.
                with contextlib.suppress(SepasrError, OSError):
                    write_json(path / "stage.json", record | ended)
                raise
            status = "finished" if stage.complete else "stopped"
            write_json(path / "stage.json", record | {"status": status, "ended": _now(), "results": stage.results})


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    # The lock lies beside the folder, which may be put aside while it is held.
    lock = FileLock(path.parent / f".{path.name}.lock", timeout=0)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise SepasrError(f"{path}: another process is working on it; wait for it or stop it") from None
    except OSError as error:
        raise SepasrError(f"{path}: cannot be written ({error.strerror}); check the path and its rights") from None
    try:
        yield
    finally:
        lock.release()


def _set_aside(path: Path) -> Path:
    number = 1
    while (old := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    path.rename(old)
    path.mkdir()
    say(f"{path}: earlier work is kept in {old}")
    return old


def _is_worthless(path: Path) -> bool:
    """Whether a stage came no farther than its records."""
    return {item.name for item in path.iterdir()} <= {"stage.json", "metrics.jsonl", "tokens.txt"}


def _read_record(path: Path) -> dict[str, Any]:
    file = path / "stage.json"
    if not file.is_file():
        return {}
    return read_json(file, f"restore the file or move the folder {path} away", "not a stage's record")


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    before, now = _flat(old.get("settings", {})), _flat(new.get("settings", {}))
    # A setting that only one of two versions of this package knows says nothing.
    for key in sorted(before.keys() & now.keys()):
        if before[key] != now[key]:
            return f"{key} = {before[key]!r}, now {now[key]!r}"
    made, given = old.get("inputs", {}), new.get("inputs", {})
    changed = sorted(key for key in made.keys() | given.keys() if made.get(key) != given.get(key))
    return f"other inputs ({', '.join(changed)})" if changed else ""


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in ("sepasr", "torch", "torchaudio", "transformers", "accelerate", "numpy", "pyroomacoustics"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
