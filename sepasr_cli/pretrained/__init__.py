"""Where models come from: run directories, saved folders, Hugging Face names, the package itself.

A run directory holds a separator and a recogniser trained apart (the cascade), and the joint model made of them.
"""

from pathlib import Path
from typing import Literal, get_args

import torch

from sepasr_cli import bundled
from sepasr_cli.errors import SepasrError
from sepasr_cli.joint import AnyRecognizer, JointModel
from sepasr_cli.recognition.language_model import LanguageModel
from sepasr_cli.recognition.ready_made import PretrainedCTC, is_ready_made, load_ready_made
from sepasr_cli.recognition.recognizer import Recognizer
from sepasr_cli.rundir import RunDir
from sepasr_cli.saved_model import CONFIG, WEIGHTS, SavedModel, local_folder, read_config
from sepasr_cli.separation import NETWORKS, ByMicrophones, Separator

System = Literal["joint", "cascade"]

#: Folder of the language model in a run directory, and beside the weights of a saved model.
LANGUAGE_MODEL = "language_model"
#: What a saved model's config.json may say of how it searches for words, as a recipe does.
DECODING = "decoding"

MODELS: dict[str, type[SavedModel]] = {
    model.kind: model
    for model in (*NETWORKS.values(), ByMicrophones, Recognizer, PretrainedCTC, LanguageModel, JointModel)
}


def load_model(name: str) -> SavedModel:
    """The model in a saved folder, or of a Hugging Face name, whatever its kind.

    Raises:
        SepasrError: where there is none, or of no kind that is known.
    """
    folder = local_folder(name)
    kind = read_config(folder)["kind"]
    if kind not in MODELS:
        raise SepasrError(f"{name}: holds a model of kind '{kind}'; expected one of {', '.join(sorted(MODELS))}")
    return MODELS[kind].from_pretrained(str(folder))


def choose_system(run: RunDir, system: System | None) -> System:
    """The system asked for; by default the joint one where the run has it."""
    if system is not None:
        return system
    return "joint" if (run.path / "joint" / "model.safetensors").is_file() else "cascade"


def load_separator(model: str | None, device: torch.device | str = "cpu", system: System | None = None) -> Separator:
    """The separator of a run directory, a saved folder or a Hugging Face name; the bundled one where None.

    Raises:
        SepasrError: where there is none.
    """
    model = bundled.resolved(model)
    run = _as_run(model)
    if run is not None and choose_system(run, system) == "cascade":
        found = load_model(str(run.require_model("separator")))
    else:
        found = load_model(str(run.require_model("joint")) if run is not None else model)
    if isinstance(found, JointModel):
        found = found.separator
    if not isinstance(found, get_args(Separator)):
        raise SepasrError(f"{model}: holds a {found.kind}, which separates nothing; give a separator or a joint model")
    return found.to(device).eval()


def load_system(
    model: str | None,
    device: torch.device | str = "cpu",
    system: System | None = None,
    recognizer: str | None = None,
) -> JointModel:
    """Separation and recognition of a run directory, a saved folder or a Hugging Face name.

    Args:
        model: where both come from; the bundled model where None.
        device: where they go.
        system: which of a run's.
        recognizer: another recogniser, as `load_recognizer` takes it; of `model` the separator alone is then used.

    Raises:
        SepasrError: where one of them is missing.
    """
    model = bundled.resolved(model)
    run = _as_run(model)
    if recognizer is not None:
        separator = load_separator(model, system=system)
        found: SavedModel = JointModel.join(separator, load_recognizer(recognizer, separator.config.sample_rate))
    elif run is not None and choose_system(run, system) == "cascade":
        separator = load_separator(model, system="cascade")
        own = load_recognizer(str(run.require_model("recognizer")), separator.config.sample_rate)
        found = JointModel.join(separator, own)
    else:
        found = load_model(str(run.require_model("joint")) if run is not None else model)
    if not isinstance(found, JointModel):
        raise SepasrError(f"{model}: holds a {found.kind} alone; transcribing takes a run directory or a joint model")
    return found.to(device).eval()


def load_recognizer(name: str, sample_rate: int) -> AnyRecognizer:
    """A recogniser of ours (run directory, saved folder) or of transformers (folder, Hugging Face name).

    Raises:
        SepasrError: where there is none.
    """
    name = bundled.resolved(name)
    run = _as_run(name)
    folder = run.require_model("recognizer") if run is not None else Path(name)
    if not folder.is_dir() or is_ready_made(folder):
        return load_ready_made(name, sample_rate)
    found = load_model(str(folder))
    if isinstance(found, JointModel):
        return found.recognizer
    if not isinstance(found, Recognizer):
        raise SepasrError(f"{folder}: holds a {found.kind}; expected a recogniser")
    return found


def load_language_model(name: str, device: torch.device | str = "cpu") -> LanguageModel:
    """The language model of a run directory, a saved folder or a Hugging Face name.

    Raises:
        SepasrError: where there is none.
    """
    name = bundled.resolved(name)
    run = _as_run(name)
    folder = run.require_model(LANGUAGE_MODEL) if run is not None else local_folder(name)
    if (folder / LANGUAGE_MODEL / CONFIG).is_file():
        folder = folder / LANGUAGE_MODEL
    found = load_model(str(folder))
    if not isinstance(found, LanguageModel):
        raise SepasrError(f"{folder}: holds a {found.kind}; expected a language model, as `sepasr pretrain-lm` makes")
    return found.to(device).eval()


def language_model_of(model: str | None) -> str | None:
    """The language model that a run has, or that a saved model keeps beside its weights; None where there is none."""
    model = bundled.resolved(model)
    folder = Path(model) if Path(model).is_dir() else local_folder(model)
    return str(folder / LANGUAGE_MODEL) if (folder / LANGUAGE_MODEL / WEIGHTS).is_file() else None


def _as_run(model: str) -> RunDir | None:
    return RunDir(model) if RunDir.is_one(Path(model)) else None
