"""`sepasr pretrain-sep`: train the separator."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sepasr_cli.errors import SepasrError
from sepasr_cli.pretrained import load_separator
from sepasr_cli.saved_model import weights_fingerprint
from sepasr_cli.separation import Separator, SeparatorConfig, TFGridNet, TwoStage, build_separator
from sepasr_cli.separation.tfgridnet import TFGridNetConfig
from sepasr_cli.separation.two_stage import TwoStageConfig
from sepasr_cli.stages.training import (
    data_fingerprint,
    goal_and_settings,
    mixture_data,
    open_run,
    seed_weights,
    train_model,
)
from sepasr_cli.training.tasks import SeparationTask


def pretrain_sep(
    run: Path,
    *,
    recipe: Path | None = None,
    overrides: Sequence[str] = (),
    device: str = "auto",
    max_minutes: float | None = None,
    skip_bad: bool = False,
    restart: bool = False,
) -> None:
    """Train the separator of the recipe on the run's mixtures; the model is RUN/separator.

    Args:
        run: the run directory.
        recipe: a recipe to put in force; by default the run's own.
        overrides: settings to change, as "key.key=value".
        device: auto, cpu, cuda or mps.
        max_minutes: stop after so long, with everything kept to go on.
        skip_bad: leave broken utterances out instead of stopping (dynamic mixing).
        restart: put an earlier separator aside and begin anew.

    Raises:
        SepasrError: where something is missing, broken, or does not fit.
    """
    directory, resolved = open_run(run, recipe, overrides, device)
    config = resolved.pretrain_sep
    goal, settings = goal_and_settings(config)
    settings = {
        "separation": resolved.separation.model_dump(mode="json"),
        "pretrain_sep": settings,
        "seed": resolved.seed,
    }
    inputs = data_fingerprint(directory, config.dynamic_mixing)
    initial = None
    seed_weights(resolved, "separator")
    if config.initial is not None:
        initial = _initial(config.initial, resolved.separation)
        inputs["initial"] = weights_fingerprint(initial)
    elif isinstance(resolved.separation, TwoStageConfig):
        raise SepasrError("pretrain_sep.initial: expected the separator that is the first stage, found none; name it")
    with directory.stage("separator", settings, inputs, goal, restart) as stage:
        directory.write_recipe(resolved)
        if stage.finished:
            return
        model = build_separator(resolved.separation) if initial is None else initial
        train, dev = mixture_data(directory, resolved, config, None, skip_bad)
        task = SeparationTask(model, config)
        stage.complete, stage.results = train_model(
            directory, "separator", resolved, model, task, train, dev, config, device, max_minutes
        )


def _initial(name: str, wanted: SeparatorConfig) -> Separator:
    """The separator that training starts from.

    It may be smaller than what is wanted: of fewer blocks or LSTM units, or hear no cues. Where two stages are wanted,
    `name` may be the first one's.

    Raises:
        SepasrError: where it is not there, or does not fit.
    """
    found = load_separator(name, system="cascade")
    if found.config == wanted:
        return found
    match found, wanted:
        case TFGridNet(), TwoStageConfig() if _sizes(found.config) == _sizes(wanted.first):
            return TwoStage.following(found, wanted)
        case TwoStage(), TwoStageConfig() if _sizes(found.config.first) == _sizes(wanted.first) and _grows(
            found.config.second, wanted.second
        ):
            both = TwoStage(wanted)
            both.begin_as(found)
            return both
        case TFGridNet(), TFGridNetConfig(kind="tfgridnet") if _grows(found.config, wanted):
            model = TFGridNet(wanted)
            model.begin_as(found)
            return model
    raise SepasrError(
        f"pretrain_sep.initial: {name} has other sizes than the recipe's separation, and cannot grow to them; "
        "make them equal, or leave it out"
    )


def _grows(found: TFGridNetConfig, wanted: TFGridNetConfig) -> bool:
    """Whether one can begin as the other (`TFGridNet.begin_as`)."""
    larger = found.blocks <= wanted.blocks and found.lstm <= wanted.lstm and found.cues <= wanted.cues
    free = {"blocks": 0, "lstm": 0, "cues": False}
    return larger and _sizes(found) | free == _sizes(wanted) | free


def _sizes(config: TFGridNetConfig) -> dict[str, Any]:
    return config.model_dump(exclude={"beamform", "checkpoint_activations"})
