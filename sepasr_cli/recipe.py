"""A recipe: every setting of a run, read from YAML, checked as a whole."""

import os
import re
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator
from typing_extensions import Self

from sepasr_cli.corpora import CorpusConfig
from sepasr_cli.datasets import DatasetConfig
from sepasr_cli.errors import ArgumentError, SepasrError
from sepasr_cli.files import fingerprint
from sepasr_cli.manifest import Reference
from sepasr_cli.recognition.beam_search import DecodingConfig
from sepasr_cli.recognition.language_model import LanguageModelConfig
from sepasr_cli.recognition.recognizer import RecognizerConfig
from sepasr_cli.scoring.normalisation import Normalisation
from sepasr_cli.separation import SeparatorConfig
from sepasr_cli.separation.mask_mvdr import MaskMVDRConfig
from sepasr_cli.separation.tfgridnet import TFGridNetConfig
from sepasr_cli.settings import Settings, validate
from sepasr_cli.simulation.config import SimulationConfig
from sepasr_cli.training.tasks import JointFinetuneConfig, PretrainAsrConfig, PretrainLmConfig, PretrainSepConfig


class Corpora(Settings):
    """The speech of each split; several corpora are joined."""

    train: tuple[CorpusConfig, ...] = ()
    dev: tuple[CorpusConfig, ...] = ()
    test: tuple[CorpusConfig, ...] = ()


class ScoringConfig(Settings):
    """What estimates are compared with, and how words are made equal."""

    reference: Reference = "early"
    text: Normalisation = "basic"
    collar: float = Field(5.0, ge=0, description="seconds by which a word may be off in tcpWER")


class Recipe(Settings):
    """A whole run. A recipe file states only what differs from these defaults."""

    root: Path | None = Field(
        None, description="folder from which relative paths are meant; the recipe's own (or its base's) by default"
    )
    seed: int = Field(0, ge=0)
    sample_rate: int = Field(16000, ge=8000, le=48000)
    corpora: Corpora = Corpora()
    dataset: DatasetConfig | None = Field(None, description="a published set of mixtures, taken instead of simulation")
    simulation: SimulationConfig = SimulationConfig()
    separation: SeparatorConfig = TFGridNetConfig()
    recognition: RecognizerConfig = RecognizerConfig()
    language_model: LanguageModelConfig = LanguageModelConfig()
    pretrain_sep: PretrainSepConfig = PretrainSepConfig()
    pretrain_asr: PretrainAsrConfig = PretrainAsrConfig()
    pretrain_lm: PretrainLmConfig = PretrainLmConfig()
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
            values["separation"] = {"kind": "tfgridnet"} | _of_the_data(values) | values["separation"]
        return values

    @property
    def data(self) -> "DatasetConfig | SimulationConfig":
        """Where the mixtures come from."""
        return self.dataset or self.simulation

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        for name, part in (("separation", self.separation), ("recognition", self.recognition)):
            if part.sample_rate != self.sample_rate:
                raise ValueError(
                    f"{name}.sample_rate is {part.sample_rate}, sample_rate is {self.sample_rate}; state it once, above"
                )
        origin = "dataset" if self.dataset else "simulation"
        for name in ("speakers", "reference_microphone"):
            ours, theirs = getattr(self.separation, name), getattr(self.data, name)
            if ours != theirs:
                raise ValueError(f"separation.{name} is {ours}, {origin}.{name} is {theirs}; they must be equal")
        if self.separation.microphones > self.data.microphones:
            array = "the dataset's" if self.dataset else "simulation.array.microphones"
            raise ValueError(
                f"separation.microphones is {self.separation.microphones}, but {array} is "
                f"{self.data.microphones}; a separator takes at most the microphones there are"
            )
        for name, training in (("pretrain_sep", self.pretrain_sep), ("joint_finetune", self.joint_finetune)):
            if self.dataset is not None and training.dynamic_mixing:
                raise ValueError(f"{name}.dynamic_mixing mixes in simulated rooms; leave it out, or leave dataset out")
            self._counts_are_heard(name, training.microphone_counts)
        if self.pretrain_sep.loss == "mask":
            self._masks_are_made()
        self._references_are_made()
        return self

    def _counts_are_heard(self, name: str, counts: Sequence[int]) -> None:
        if not counts:
            return
        separation = self.separation
        if not separation.fewer_microphones or separation.reference_microphone:
            raise ValueError(
                f"{name}.microphone_counts needs separation.fewer_microphones and reference_microphone 0; "
                "set these, or leave it out"
            )
        if max(counts) > separation.microphones:
            raise ValueError(
                f"{name}.microphone_counts goes up to {max(counts)}, separation.microphones is "
                f"{separation.microphones}; lower it"
            )

    def _masks_are_made(self) -> None:
        if not isinstance(self.separation, MaskMVDRConfig):
            raise ValueError(
                f"pretrain_sep.loss is mask, which a separation of kind {self.separation.kind} has none of; "
                "choose l1 or si_sdr"
            )
        if not self.separation.noise_mask:
            raise ValueError("pretrain_sep.loss is mask, which needs separation.noise_mask: true; change one of them")

    def _references_are_made(self) -> None:
        wanted = {
            "pretrain_sep.reference": (self.pretrain_sep.reference,),
            "pretrain_asr.speech": tuple(kind for kind in self.pretrain_asr.speech if kind in get_args(Reference)),
            "joint_finetune.reference": (self.joint_finetune.reference,),
            "scoring.reference": (self.scoring.reference,),
        }
        if self.dataset is not None and not self.dataset.references:
            # Such a set is there to be transcribed.
            return
        made = ", ".join(self.data.references) or "none"
        for name, references in wanted.items():
            for reference in references:
                if reference in self.data.references:
                    continue
                if self.dataset is not None:
                    raise ValueError(f"{name} is {reference}, the dataset has {made}; choose among these")
                raise ValueError(f"{name} is {reference}, simulation.references has {made}; add it there")

    def to_yaml(self) -> str:
        """Every value that is in force, as YAML; paths below `root` are relative to it."""
        return yaml.safe_dump(self._plain(), sort_keys=False, allow_unicode=True)

    def fingerprint(self) -> str:
        """Changes when any value does but `root`, where the data happen to lie."""
        return fingerprint(self._plain() | {"root": None})

    def _plain(self) -> dict[str, Any]:
        values = self.model_dump(mode="json")
        root = self.root
        if root is not None:
            _change_paths(values, lambda _, path: _below(path, root))
        return values


def _of_the_data(values: dict[str, Any]) -> dict[str, Any]:
    """Microphones, speakers and the reference of a recipe's data, as its separator takes them over."""
    if values.get("dataset") is not None:
        try:
            data = TypeAdapter(DatasetConfig).validate_python(values["dataset"])
        except ValidationError:
            # Told with its key when the recipe itself is validated.
            return {}
        names = ("microphones", "speakers", "reference_microphone")
        return {name: getattr(data, name) for name in names}
    simulation = values.get("simulation", {})
    array = simulation.get("array", {})
    microphones = array.get("microphones") if isinstance(array, dict) else None
    return {
        "microphones": microphones or SimulationConfig().microphones,
        "speakers": simulation.get("speakers", SimulationConfig().speakers),
        "reference_microphone": simulation.get("reference_microphone", 0),
    }


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply `key.key=value` overrides, whose values are YAML.

    `base: other.yaml` in a recipe takes over another, of which it states the differences. Relative paths of corpora,
    speaker lists and noise are meant from `root`, which is meant from the recipe's folder (from the working folder
    where an override gives it).

    Raises:
        SepasrError: where the file is missing or no YAML, or a key, type or value is wrong.
    """
    values = _read(path)
    before, values["root"] = values["root"], None
    for override in overrides:
        _apply(values, override)
    origin = " ".join([str(path), *(f"--set {override}" for override in overrides)])
    root = _root(values["root"], Path.cwd(), origin) if values["root"] is not None else Path(before)
    values["root"] = str(root)
    _change_paths(values, lambda key, name: _found_from(root, key, name))
    return validate(Recipe, values, origin)


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The values of a recipe over those of its base; `root` is there and absolute."""
    values = _read_yaml(path)
    folder = path.resolve().parent
    name = values.pop("base", None)
    root = values.pop("root", None)
    below: dict[str, Any] = {"root": str(folder)}
    if name is not None:
        base = folder / str(name)
        if not base.is_file():
            raise SepasrError(f"{path}: 'base' names {name}, which is not there; expected a path from this recipe")
        if base.resolve() in (*above, path.resolve()):
            raise SepasrError(f"{path}: 'base' names {name}, which is made from this recipe itself; remove one 'base'")
        below = _read(base, (*above, path.resolve()))
    if root is not None:
        values["root"] = str(_root(root, folder, str(path)))
    return _merge(below, values)


def _root(value: Any, folder: Path, origin: str) -> Path:
    if not isinstance(value, str):
        raise SepasrError(f"{origin}: 'root': found {value!r}, expected a path")
    return (folder / value).resolve()


class _Loader(yaml.SafeLoader):
    """Plain data alone. As in YAML 1.2, `no` and `on` are words, and a key stands once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key.value}' stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_BOOL = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag != _BOOL]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def _parse(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise SepasrError(f"{path}: no such recipe; see the folder recipes/ for examples")
    try:
        values = _parse(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or str(error).replace("\n", " ")
        raise SepasrError(f"{path}{line}: not YAML ({problem}); mend it") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SepasrError(f"{path}: found a {type(values).__name__}, expected settings as `key: value`")
    return values


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and value.get("kind", old.get("kind")) == old.get("kind"):
            result[key] = _merge(old, value)
        else:
            result[key] = value
    return result


def _change_paths(values: dict[str, Any], change: Callable[[str, str], str]) -> None:
    """Put `change(key, path)` in the place of the paths of corpora, speaker lists, texts, noise and local models."""
    corpora = values.get("corpora")
    for split in corpora.values() if isinstance(corpora, dict) else ():
        for corpus in split if isinstance(split, list) else ():
            _change(corpus, ("path", "speakers", "text_file"), change)
    dataset = values.get("dataset")
    _change(dataset, ("path", "transcripts"), change)
    made_from = dataset.get("make_from") if isinstance(dataset, dict) else None
    _change(made_from, ("wsj0", "lists", "scaling", "librispeech", "noise", "tables"), change)
    for part, key, names in (("simulation", "noise", ("path",)), ("recognition", "features", ("name",))):
        if isinstance(values.get(part), dict):
            _change(values[part].get(key), names, change)
    _change(values.get("joint_finetune"), ("recognizer",), change)
    texts = values.get("pretrain_lm")
    for key in ("text", "dev_text"):
        if isinstance(texts, dict) and isinstance(texts.get(key), list):
            texts[key] = [change(key, path) if isinstance(path, str) else path for path in texts[key]]


def _change(values: Any, keys: Sequence[str], change: Callable[[str, str], str]) -> None:
    for key in keys:
        if isinstance(values, dict) and isinstance(values.get(key), str):
            values[key] = change(key, values[key])


def _found_from(root: Path, key: str, name: str) -> str:
    # A Hugging Face name stays one unless a folder of that name is there.
    if key in ("name", "recognizer") and not (root / name).is_dir():
        return name
    return os.path.abspath(root / name)


def _below(path: str, root: Path) -> str:
    return str(Path(path).relative_to(root)) if Path(path).is_relative_to(root) else path


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ArgumentError(f"--set '{override}': expected KEY=VALUE, such as separation.blocks=4")
    *path, last = key.strip().split(".")
    level = values
    for name in path:
        if level.get(name) is None:
            level[name] = {}
        level = level[name]
        if not isinstance(level, dict):
            raise ArgumentError(f"--set '{override}': '{name}' holds a value, not settings; check the key")
    try:
        level[last] = _parse(text)
    except (yaml.YAMLError, ValueError):
        raise ArgumentError(f"--set '{override}': the value is not YAML; quote it") from None
