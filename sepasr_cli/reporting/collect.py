"""What a report is made of: the scores, recordings and training records that runs hold."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sepasr_cli import transcripts
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import read_json
from sepasr_cli.manifest import BankRoom, Mixture, Separated, read_manifest
from sepasr_cli.rundir import COMMANDS, RunDir
from sepasr_cli.scoring.words import Normalisation

#: Which models of a run a folder of results was made with, by what follows the split in its name.
SYSTEMS = ("joint", "cascade")
#: The stages that train, in their order.
TRAINED = ("separator", "recognizer", "joint")


@dataclass(frozen=True)
class Training:
    """What one training stage left: the lines of its metrics.jsonl, and what is known of the model that was kept."""

    stage: str
    status: str | None
    lines: tuple[dict[str, Any], ...]
    kind: str = ""
    steps: int | None = None
    dev: Mapping[str, float] = field(default_factory=dict)

    def curve(self, split: str, key: str) -> list[tuple[float, float]]:
        """(step, value) of one figure, where it is there."""
        return [
            (line["step"], line[key])
            for line in self.lines
            if line.get("split") == split and isinstance(line.get(key), (int, float)) and "step" in line
        ]


@dataclass(frozen=True)
class Scored:
    """One system's scores on a split of a run: a column of the report.

    `heard` has the words of each output of each recording; `seen` the mixtures, `seen_rooms` the rooms of training.
    """

    name: str
    run: RunDir
    system: str
    folder: str
    summary: Mapping[str, Any]
    recordings: Mapping[str, dict[str, Any]]
    mixtures: Mapping[str, Mixture]
    separated: Mapping[str, Separated]
    heard: Mapping[str, Mapping[str, str]]
    training: Mapping[str, Training]
    seen: tuple[Mixture, ...]
    seen_rooms: tuple[BankRoom, ...]

    @property
    def text(self) -> Normalisation:
        """The normalisation of texts it was scored with."""
        return self.summary.get("text", "none")


def collect(runs: Sequence[Path | str], split: str, systems: Sequence[str] = ()) -> list[Scored]:
    """Everything scored on a split, a column for each run and system.

    Args:
        runs: run directories.
        split: the split.
        systems: "joint" and "cascade"; by default all that were scored.

    Raises:
        SepasrError: where a run is none, was not scored, or its scores cannot be read.
    """
    opened = [RunDir.open(run) for run in runs]
    names = _distinct([run.path for run in opened])
    found = []
    for run, name in zip(opened, names, strict=True):
        folders = _scored_folders(run, split, systems)
        shared = _read_run(run, split)
        for folder, system in folders:
            alone = [other for _, other in folders].count(system) == 1
            label = name if len(folders) == 1 else f"{name} {system if alone else folder}"
            scores, separated = run.path / "scores" / folder, run.path / "separated" / folder / "separated.jsonl"
            heard = run.path / "transcripts" / folder / "transcripts.json"
            found.append(
                Scored(
                    name=label,
                    run=run,
                    system=system,
                    folder=folder,
                    summary=_read_json(scores / "summary.json"),
                    recordings={record["id"]: record for record in _read_lines(scores / "recordings.jsonl", "id")},
                    separated={item.id: item for item in read_manifest(separated, Separated)}
                    if separated.is_file()
                    else {},
                    heard=transcripts.by_speaker(transcripts.read(heard)) if heard.is_file() else {},
                    **shared,
                )
            )
    return found


def _scored_folders(run: RunDir, split: str, systems: Sequence[str]) -> list[tuple[str, str]]:
    """The folders below RUN/scores that are asked for, and which system each is of.

    Raises:
        SepasrError: naming what was scored, and the command that scores.
    """
    scores = run.path / "scores"
    folders = [split, *(f"{split}-{system}" for system in SYSTEMS)]
    there = {folder: _system(run, folder) for folder in folders if (scores / folder / "summary.json").is_file()}
    missing = [system for system in systems if system not in there.values()]
    if missing or not there:
        folder, flag = (f"{split}-{missing[0]}", f" --system {missing[0]}") if missing else (split, "")
        others = sorted(path.parent.name for path in scores.glob("*/summary.json"))
        raise SepasrError(
            f"{scores / folder}: not scored (found {', '.join(others) or 'none'}); "
            f"run `sepasr score {run.path} --split {split}{flag}` first"
        )
    return [(folder, system) for folder, system in there.items() if not systems or system in systems]


def _system(run: RunDir, folder: str) -> str:
    """What a folder of results was made with: joint, cascade, or the model that was named instead.

    Where nothing was named it was the joint model, if its training had begun by then.
    """
    records = [run.path / kind / folder / "stage.json" for kind in ("separated", "transcripts")]
    made = next((_read_json(path) for path in records if path.is_file()), {})
    settings = made.get("made_from", {}).get("settings", {})
    if named := settings.get("model") or settings.get("system"):
        return str(named)
    for system in SYSTEMS:
        if folder.endswith(f"-{system}"):
            return system
    if not (run.path / "joint" / "model.safetensors").is_file():
        return "cascade"
    joint = run.path / "joint" / "stage.json"
    begun = _read_json(joint).get("started") if joint.is_file() else None
    return "cascade" if begun and made and begun > made.get("started", begun) else "joint"


def _read_run(run: RunDir, split: str) -> dict[str, Any]:
    """What all systems of a run share."""
    mixtures = read_manifest(run.require_manifest(split), Mixture)
    train, rooms = run.manifest("train"), run.data / "responses.jsonl"
    return {
        "mixtures": {mixture.id: mixture for mixture in mixtures},
        "training": {stage: _read_training(run, stage) for stage in TRAINED if (run.path / stage).is_dir()},
        "seen": tuple(read_manifest(train, Mixture)) if train.is_file() else (),
        "seen_rooms": tuple(read_manifest(rooms, BankRoom)) if rooms.is_file() else (),
    }


def _read_training(run: RunDir, stage: str) -> Training:
    folder = run.path / stage
    metrics, config = folder / "metrics.jsonl", folder / "config.json"
    known = _read_json(config) if config.is_file() else {}
    return Training(
        stage,
        run.status(stage),
        tuple(_read_lines(metrics, "step")) if metrics.is_file() else (),
        known.get("kind", ""),
        known.get("steps"),
        known.get("dev") or {},
    )


def _read_json(path: Path) -> dict[str, Any]:
    return read_json(path, _remedy(path), "found {}, expected named values")


def _read_lines(path: Path, key: str) -> list[dict[str, Any]]:
    if not path.is_file():
        raise SepasrError(f"{path}: no such file; {_remedy(path)}")
    records = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            record = json.loads(line.decode("utf-8"))
        except ValueError as error:
            raise SepasrError(f"{path}:{number}: not JSON ({error}); {_remedy(path)}") from None
        if not isinstance(record, dict) or key not in record:
            raise SepasrError(f"{path}:{number}: expected a record with '{key}'; {_remedy(path)}")
        records.append(record)
    return records


def _remedy(path: Path) -> str:
    command = COMMANDS.get(path.parent.name, "score")
    return f"restore it, or run `sepasr {command}` again"


def _distinct(paths: Sequence[Path]) -> list[str]:
    """A short name for every run: its folder's, with as many folders above as it takes to tell them apart.

    >>> _distinct([Path("a/one"), Path("a/two")])
    ['one', 'two']
    >>> _distinct([Path("/x/one"), Path("/y/one")])
    ['x/one', 'y/one']

    Raises:
        SepasrError: where one is given twice.
    """
    parts = [path.resolve().parts for path in paths]
    for index, path in enumerate(paths):
        if parts[index] in parts[:index]:
            raise SepasrError(f"{path}: given twice; name every run once")
    depth = 1
    while len({part[-depth:] for part in parts}) < len(parts):
        depth += 1
    return ["/".join(part[-depth:]) for part in parts]
