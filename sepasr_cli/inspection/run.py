"""Facts of run directories and saved models."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from safetensors import SafetensorError, safe_open

from sepasr_cli.errors import SepasrError
from sepasr_cli.files import read_json
from sepasr_cli.inspection.sound import Facts, describe_manifest
from sepasr_cli.manifest import SPLITS
from sepasr_cli.pretrained import MODELS
from sepasr_cli.rundir import RunDir
from sepasr_cli.saved_model import CONFIG, WEIGHTS, read_config
from sepasr_cli.settings import validate

#: The folders of models.
TRAINED = ("separator", "recognizer", "joint")
#: Values longer than this are cut.
LONGEST = 60


def describe_run(run: RunDir) -> Facts:
    """Stages, what the recipe changes, trainings, models, data and scores of a run.

    Raises:
        SepasrError: where something in it cannot be read.
    """
    recipe = run.recipe()
    records = sorted(path for path in run.path.glob("**/stage.json") if len(path.relative_to(run.path).parts) <= 3)
    stages = [_stage(run, path.parent) for path in records]
    models = [folder for folder in TRAINED if (run.path / folder / WEIGHTS).is_file()]
    splits = [split for split in SPLITS if run.manifest(split).is_file()]
    return {
        "kind": "run",
        "stages": sorted(stages, key=lambda stage: stage["started"] or ""),
        # The parts' sample rate is the recipe's.
        "recipe": {key: value for key, value in differences(recipe).items() if not key.endswith(".sample_rate")},
        "training": [found for folder in TRAINED if (found := _training(run.path / folder))],
        "models": [_model(run.path / folder) for folder in models],
        "data": [{"split": split, **_brief(describe_manifest(run.manifest(split)))} for split in splits],
        "scores": [_scores(path) for path in sorted(run.path.glob("scores/*/summary.json"))],
    }


def describe_model(folder: Path) -> Facts:
    """What a saved model is, what differs from its defaults, and what made it.

    Raises:
        SepasrError: where it cannot be read.
    """
    record = read_config(folder)
    kind = MODELS.get(record["kind"])
    config = validate(kind.Config, record["config"], str(folder / CONFIG)) if kind else None
    made = {key: value for key, value in record.items() if key not in ("kind", "config")}
    return {
        "kind": f"model ({record['kind']})",
        **_weights(folder),
        **made,
        "settings": differences(config) if config else {},
    }


def differences(settings: BaseModel, prefix: str = "") -> dict[str, str]:
    """Every value that is not its default, by its key, as JSON; long ones are cut.

    >>> from sepasr_cli.separation import TFGridNetConfig
    >>> differences(TFGridNetConfig(blocks=4))
    {'blocks': '4'}
    """
    found: dict[str, str] = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        if value == default:
            continue
        if isinstance(value, BaseModel):
            if default is not None and type(value) is not type(default) and hasattr(value, "kind"):
                found[f"{prefix}{name}.kind"] = json.dumps(value.kind)
            found |= differences(value, f"{prefix}{name}.")
        elif not (name == "kind" and prefix):
            plain = settings.model_dump(mode="json", include={name}, exclude_defaults=True).get(name, value)
            text = json.dumps(plain, ensure_ascii=False, default=str)
            found[prefix + name] = text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
    return found


def _stage(run: RunDir, folder: Path) -> Facts:
    record = read_json(folder / "stage.json", "restore the file")
    results = record.get("results") or {}
    return {
        "stage": folder.relative_to(run.path).as_posix(),
        "status": record.get("status"),
        "started": record.get("started"),
        "minutes": _minutes(record.get("started"), record.get("ended")),
        "results": " ".join(f"{key}={_short(value)}" for key, value in results.items() if not isinstance(value, dict)),
    }


def _minutes(started: str | None, ended: str | None) -> float | None:
    if not started or not ended:
        return None
    return round((datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds() / 60, 1)


def _training(folder: Path) -> Facts:
    """The last training step and the best validation of a stage; nothing where it has not begun."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return {}
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break  # the last line of a training that is under way
    train = [record for record in records if record.get("split") == "train"]
    dev = [record for record in records if record.get("split") == "dev"]
    best: Facts = min(dev, key=lambda record: record["loss"], default={})
    return {
        "stage": folder.name,
        "steps": train[-1]["step"] if train else 0,
        "loss": train[-1].get("loss") if train else None,
        "seconds_a_step": train[-1].get("seconds_a_step") if train else None,
        "validations": len(dev),
        "best_step": best.get("step"),
        "best": " ".join(f"{key}={_short(value)}" for key, value in best.items() if key not in ("step", "split")),
    }


def _model(folder: Path) -> Facts:
    facts = read_config(folder)
    brief = {key: facts.get(key) for key in ("sample_rate", "microphones", "speakers")}
    return {"model": folder.name, "kind": facts["kind"], **brief, **_weights(folder)}


def _weights(folder: Path) -> Facts:
    """How many, told by the file's header alone."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise SepasrError(f"{folder}: holds no {WEIGHTS}; expected a saved model, copy the weights there too")
    try:
        with safe_open(path, framework="np") as weights:
            shapes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise SepasrError(f"{path}: cannot be read ({error}); copy the model again") from None
    count = 0
    for shape in shapes:
        size = 1
        for axis in shape:
            size *= axis
        count += size
    return {"weights": count, "megabytes": round(path.stat().st_size / 1e6, 1)}


def _brief(facts: Facts) -> Facts:
    ranges = {row["of"]: f"{row['least']:.3g} to {row['most']:.3g}" for row in facts.pop("conditions", [])}
    named = ("mixtures", "hours", "speakers", "words", "sample_rates", "channels", "missing_audio")
    kept = {key: facts[key] for key in named if key in facts}
    if isinstance(kept.get("sample_rates"), dict):
        kept["sample_rates"] = " ".join(kept["sample_rates"])
    return kept | {key: ranges[key] for key in ("overlap", "t60", "snr_db") if key in ranges}


def _scores(path: Path) -> Facts:
    numbers = {
        key: value for key, value in read_json(path, "restore the file").items() if isinstance(value, (int, float))
    }
    return {"scores": path.parent.name, **{key: _short(value) for key, value in numbers.items()}}


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
