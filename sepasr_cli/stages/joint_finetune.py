"""`sepasr joint-finetune`: train separation and recognition together."""

import json
from collections.abc import Sequence
from pathlib import Path

from sepasr_cli.errors import SepasrError
from sepasr_cli.files import fingerprint
from sepasr_cli.joint import JointModel
from sepasr_cli.pretrained import load_recognizer, load_separator
from sepasr_cli.saved_model import weights_fingerprint
from sepasr_cli.separation import ByMicrophones
from sepasr_cli.separation.tfgridnet import TFGridNet
from sepasr_cli.stages.training import (
    data_fingerprint,
    goal_and_settings,
    mixture_data,
    open_run,
    train_model,
    word_times,
)
from sepasr_cli.training.tasks import JointTask


def joint_finetune(
    run: Path,
    *,
    recipe: Path | None = None,
    recognizer: str | None = None,
    overrides: Sequence[str] = (),
    device: str = "auto",
    max_minutes: float | None = None,
    skip_bad: bool = False,
    restart: bool = False,
) -> None:
    """Fine-tune the run's separator and recogniser together on its mixtures; the model is RUN/joint.

    Args:
        run: the run directory.
        recipe: a recipe to put in force; by default the run's own.
        recognizer: a CTC model of transformers to fine-tune instead of RUN/recognizer, by hub name or local folder; the
            same as the setting `joint_finetune.recognizer`.
        overrides: settings to change, as "key.key=value".
        device: auto, cpu, cuda or mps.
        max_minutes: stop after so long, with everything kept to go on.
        skip_bad: leave broken utterances out instead of stopping (dynamic mixing).
        restart: put an earlier joint model aside and begin anew.

    Raises:
        SepasrError: where something is missing, broken, or does not fit.
    """
    if recognizer is not None:
        overrides = [*overrides, f"joint_finetune.recognizer={json.dumps(recognizer)}"]
    directory, resolved = open_run(run, recipe, overrides, device)
    config = resolved.joint_finetune
    goal, settings = goal_and_settings(config)
    settings = {"joint_finetune": settings, "seed": resolved.seed}
    if config.dynamic_mixing and resolved.simulation.overlap == "min":
        raise SepasrError(
            "simulation.overlap: 'min' cuts words off, which no transcript tells; "
            "joint-finetune with dynamic_mixing expects 'max' or a range"
        )
    inputs = data_fingerprint(directory, config.dynamic_mixing)
    own = str(directory.path)
    separator = load_separator(config.separator or own, system="cascade")
    if config.separator is None:
        inputs["separator"] = fingerprint(directory.require_model("separator") / "model.safetensors")
    else:
        inputs["separator"] = weights_fingerprint(separator)
    if config.recognizer is None:
        inputs["recognizer"] = fingerprint(directory.require_model("recognizer") / "model.safetensors")
    if config.splice:
        inputs["word times"] = fingerprint(word_times(directory))
    one = None
    if config.one_microphone is not None:
        one = load_separator(config.one_microphone, system="cascade")
        inputs["one_microphone"] = weights_fingerprint(one)
    with directory.stage("joint", settings, inputs, goal, restart) as stage:
        directory.write_recipe(resolved)
        if stage.finished:
            return
        model = JointModel.join(separator, load_recognizer(config.recognizer or own, separator.config.sample_rate))
        if config.beamform:
            model = beamforming(model)
        if one is not None:
            # Of two separators the other one takes the place of its like.
            several = separator.several if isinstance(separator, ByMicrophones) else model.separator
            model = JointModel.join(ByMicrophones.join(one, several), model.recognizer)
        vocabulary = model.trainable_recognizer.vocabulary
        vocabulary.save_text(directory.path / "joint" / "tokens.txt")
        train, dev = mixture_data(directory, resolved, config, vocabulary, skip_bad)
        task = JointTask(model, config)
        stage.complete, stage.results = train_model(
            directory, "joint", resolved, model, task, train, dev, config, device, max_minutes
        )


def beamforming(model: JointModel) -> JointModel:
    """The model with a TF-GridNet that also steers MVDR filters.

    Raises:
        SepasrError: where its separator is none.
    """
    separator = model.separator
    if not isinstance(separator, TFGridNet):
        raise SepasrError(
            f"joint_finetune.beamform is for a separation of kind tfgridnet, found {separator.kind}; leave it out"
        )
    steered = TFGridNet(separator.config.model_copy(update={"beamform": True}))
    steered.load_state_dict(separator.state_dict())
    return JointModel.join(steered, model.recognizer)
