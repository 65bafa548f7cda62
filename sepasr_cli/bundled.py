"""The model that comes with the package: where it is, what it calls itself, and when it is meant."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sepasr_cli.errors import SepasrError
from sepasr_cli.files import read_json
from sepasr_cli.progress import say

if TYPE_CHECKING:
    from sepasr_cli.rundir import RunDir

#: What `--model` calls it.
BUNDLED = "bundled"

#: Its folder: a saved model, its language model beside it. A checkout may be without its weights.
FOLDER = Path(__file__).parent / "pretrained" / "bundled"

#: Keys of its config.json: its version, and what it was trained on, in words.
VERSION, TRAINED_ON = "version", "trained_on"


def is_meant(model: str | None) -> bool:
    """Whether a model's name means the bundled one: its own name, or none at all."""
    return model is None or model == BUNDLED


def is_there() -> bool:
    """Whether this copy of the package has its weights."""
    return (FOLDER / "model.safetensors").is_file()


def resolved(model: str | None) -> str:
    """A model's name, or the bundled one's folder where that is meant.

    Raises:
        SepasrError: where it is meant and its weights are not there.
    """
    if model is not None and model != BUNDLED:
        return model
    if not is_there():
        raise SepasrError(
            f"{FOLDER}: this copy of sepasr comes without the bundled model's weights; "
            "pass --model with a run directory, a saved model's folder or a Hugging Face name"
        )
    return str(FOLDER)


def chosen_for(run: "RunDir", model: str | None, system: str | None) -> str | None:
    """The model for a run's split, None for its own; where nothing was asked for and none trained, the bundled one.

    Raises:
        SepasrError: where the bundled model is asked for and not there.
    """
    own = system is not None or any((run.path / folder).exists() for folder in ("separator", "recognizer", "joint"))
    if model is None and not own and is_there():
        say(f"{run.path}: has trained no model of its own; {described()}")
        return BUNDLED
    if model == BUNDLED:
        say(described())
    return model


def trained_on() -> str:
    """What it was trained on, in words.

    Raises:
        SepasrError: where it is not there.
    """
    return str(_facts().get(TRAINED_ON, "unknown speech"))


def described() -> str:
    """One line: which model this is, and what for.

    Raises:
        SepasrError: where it is not there.
    """
    return f"model: {BUNDLED}, version {_facts().get(VERSION, '?')}, trained on {trained_on()}"


def _facts() -> dict[str, Any]:
    return read_json(Path(resolved(None)) / "config.json", "install sepasr again")
