"""A recipe: every setting of a run, read from YAML, checked as a whole."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, model_validator
from typing_extensions import Self

from sepasr_cli.corpora import CorpusConfig
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import fingerprint
from sepasr_cli.manifest import Reference
from sepasr_cli.recognition.beam_search import DecodingConfig
from sepasr_cli.recognition.recognizer import RecognizerConfig
from sepasr_cli.separation import SeparatorConfig
from sepasr_cli.separation.tfgridnet import TFGridNetConfig
from sepasr_cli.settings import Settings, validate
from sepasr_cli.simulation.config import SimulationConfig
from sepasr_cli.training.tasks import JointFinetuneConfig, PretrainAsrConfig, PretrainSepConfig


class Corpora(Settings):
    """The speech of each split; several corpora are joined."""

    train: tuple[CorpusConfig, ...] = ()
    dev: tuple[CorpusConfig, ...] = ()
    test: tuple[CorpusConfig, ...] = ()


class ScoringConfig(Settings):
    """What estimates are compared with, and how words are made equal."""

    reference: Reference = "early"
    text: str = "basic"


class Recipe(Settings):
    """A whole run. A recipe file states only what differs from these defaults."""

    root: Path | None = Field(None, description="folder from which relative paths are meant; the recipe's own by default")
    seed: int = Field(0, ge=0)
    sample_rate: int = Field(16000, ge=8000, le=48000)
    corpora: Corpora = Corpora()
    simulation: SimulationConfig = SimulationConfig()
    separation: SeparatorConfig = TFGridNetConfig()
    recognition: RecognizerConfig = RecognizerConfig()
    pretrain_sep: PretrainSepConfig = PretrainSepConfig()
    pretrain_asr: PretrainAsrConfig = PretrainAsrConfig()
    joint_finetune: JointFinetuneConfig = JointFinetuneConfig()
    decoding: DecodingConfig = DecodingConfig()
    scoring: ScoringConfig = ScoringConfig()

    @model_validator(mode="before")
    @classmethod
    def _models_follow_the_data(cls, values: Any) -> Any:
        """Sample rate, microphones and speakers are stated once and reach the models from there."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        simulation = values.get("simulation", {})
        if not isinstance(simulation, dict):
            return values
        rate = values.get("sample_rate", 16000)
        for name in ("separation", "recognition"):
            if isinstance(values.get(name, {}), dict):
                values[name] = {"sample_rate": rate} | values.get(name, {})
        if isinstance(values["separation"], dict):
            array = simulation.get("array", {})
            microphones = array.get("microphones") if isinstance(array, dict) else None
            defaults = {
                "kind": "tfgridnet",
                "microphones": microphones or SimulationConfig().array.microphones,
                "speakers": simulation.get("speakers", SimulationConfig().speakers),
                "reference_microphone": simulation.get("reference_microphone", 0),
            }
            values["separation"] = defaults | values["separation"]
        return values

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        for name, part in (("separation", self.separation), ("recognition", self.recognition)):
            if part.sample_rate != self.sample_rate:
                raise ValueError(
                    f"{name}.sample_rate is {part.sample_rate}, sample_rate is {self.sample_rate}; state it once, above"
                )
        if self.separation.speakers != self.simulation.speakers:
            raise ValueError(
                f"separation.speakers is {self.separation.speakers}, simulation.speakers is {self.simulation.speakers}; "
                "they must be equal"
            )
        if self.separation.microphones > self.simulation.array.microphones:
            raise ValueError(
                f"separation.microphones is {self.separation.microphones}, but simulation.array.microphones is "
                f"{self.simulation.array.microphones}; a separator takes at most the microphones there are"
            )
        return self

    def to_yaml(self) -> str:
        """Every value that is in force, as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def fingerprint(self) -> str:
        """Changes when any value does."""
        return fingerprint(self.model_dump(mode="json"))


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply `key.key=value` overrides, whose values are YAML.

    Relative paths of corpora, speaker lists and noise are meant from `root`, which is meant from the recipe's folder
    (from the working folder where an override gives it).

    Raises:
        SepasrError: where the file is missing or no YAML, or a key, type or value is wrong.
    """
    if not path.is_file():
        raise SepasrError(f"{path}: no such recipe; see the folder recipes/ for examples")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise SepasrError(f"{path}{line}: not YAML ({getattr(error, 'problem', None) or error})") from None
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise SepasrError(f"{path}: found a {type(values).__name__}, expected settings as `key: value`")
    _apply_base(values, path)
    root = path.resolve().parent / str(values.get("root") or "")
    values["root"] = None
    for override in overrides:
        _apply(values, override)
    if values["root"] is not None:
        root = Path(str(values["root"]))
    values["root"] = str(root.resolve())
    _resolve_paths(values, root.resolve())
    return validate(Recipe, values, str(path))


def _apply_base(values: dict[str, Any], path: Path) -> None:
    """`base: other.yaml` takes over another recipe, of which this one states the differences."""
    name = values.pop("base", None)
    if name is None:
        return
    base = path.parent / str(name)
    if not base.is_file():
        raise SepasrError(f"{path}: 'base' names {name}, which is not there; expected a recipe beside this one")
    below = yaml.safe_load(base.read_text(encoding="utf-8"))
    if not isinstance(below, dict):
        raise SepasrError(f"{base}: expected settings as `key: value`")
    _apply_base(below, base)
    merged = _merge(below, values)
    values.clear()
    values.update(merged)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and value.get("kind", old.get("kind")) == old.get("kind"):
            result[key] = _merge(old, value)
        else:
            result[key] = value
    return result


def _resolve_paths(values: Any, folder: Path) -> None:
    """Make the paths of corpora, speaker lists, noise and local models absolute."""
    if isinstance(values, list):
        for value in values:
            _resolve_paths(value, folder)
    if isinstance(values, dict):
        for key, value in values.items():
            if isinstance(value, str) and key in ("path", "speakers", "text_file", "name"):
                candidate = folder / value
                # A Hugging Face name stays one unless a folder of that name is there.
                if not Path(value).is_absolute() and (key != "name" or candidate.is_dir()):
                    values[key] = str(candidate.resolve())
            else:
                _resolve_paths(value, folder)


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise SepasrError(f"--set '{override}': expected KEY=VALUE, such as separation.blocks=4")
    *path, last = key.strip().split(".")
    level = values
    for name in path:
        if level.get(name) is None:
            level[name] = {}
        level = level[name]
        if not isinstance(level, dict):
            raise SepasrError(f"--set '{override}': '{name}' holds a value, not settings; check the key")
    try:
        level[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise SepasrError(f"--set '{override}': the value is not YAML; quote it") from None
