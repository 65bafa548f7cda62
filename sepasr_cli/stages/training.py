"""What the three training commands share: recipe in, trained model out, in a folder of the run."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sepasr_cli.corpora import read_corpora
from sepasr_cli.device import pick_device
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import fingerprint
from sepasr_cli.heap import keep_heap
from sepasr_cli.manifest import Utterance
from sepasr_cli.progress import say
from sepasr_cli.randomness import generator
from sepasr_cli.recipe import Recipe
from sepasr_cli.recognition.tokens import Vocabulary
from sepasr_cli.rundir import RunDir
from sepasr_cli.saved_model import SavedModel
from sepasr_cli.simulation.responses import ResponseBank
from sepasr_cli.training.loop import Batch, Batches, LoopConfig, Trainer
from sepasr_cli.training.mixtures import DynamicMixtures, SimulatedMixtures
from sepasr_cli.training.speech import corpus_speech
from sepasr_cli.training.splicing import Splices, Times, load_times
from sepasr_cli.training.tasks import JointFinetuneConfig, PretrainSepConfig

#: In a run directory: where the words of the training utterances are.
WORDS = Path("recognizer", "words.json")
#: Settings of a training that may change while its weights stay of use.
GOALS = ("max_steps", "early_stopping", "tensorboard", "log_every", "save_every", "data_workers")


def open_run(path: Path, recipe: Path | None, overrides: Sequence[str], device: str) -> tuple[RunDir, Recipe]:
    """The run directory and the recipe in force: the one given, or the run's own, with overrides.

    Raises:
        SepasrError: where the run has no recipe and none is given, the recipe is wrong, or the device is not there.
    """
    pick_device(device)
    return RunDir.begin(path, recipe, overrides)


def goal_and_settings(config: LoopConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """The part of a training's settings that may change later, and the part that may not."""
    values = config.model_dump(mode="json")
    return {key: values[key] for key in GOALS}, {key: value for key, value in values.items() if key not in GOALS}


def seed_weights(recipe: Recipe, stage: str) -> None:
    """Make the first weights depend on the recipe's seed and the stage alone."""
    torch.manual_seed(int(generator(recipe.seed, "weights", stage).integers(2**62)))


def training_utterances(recipe: Recipe, skip_bad: bool) -> list[Utterance]:
    """The speech of `corpora.train`."""
    return read_corpora(recipe.corpora.train, skip_bad=skip_bad, sample_rate=recipe.sample_rate)


def mixture_data(
    run: RunDir,
    recipe: Recipe,
    config: PretrainSepConfig | JointFinetuneConfig,
    vocabulary: Vocabulary | None,
    skip_bad: bool,
) -> tuple[Batches, Sequence[Callable[[], Batch]]]:
    """Training batches and the validation's, from the run's manifests or mixed anew."""
    common: dict[str, Any] = {
        "reference": config.reference,
        "microphones": recipe.separation.microphones,
        "batch_size": config.batch_size,
        "seed": recipe.seed,
        "vocabulary": vocabulary,
        "microphone_counts": config.microphone_counts,
    }
    segment = config.segment_seconds if isinstance(config, PretrainSepConfig) else None
    train: Batches
    if config.dynamic_mixing:
        utterances = training_utterances(recipe, skip_bad)
        splice = None
        if isinstance(config, JointFinetuneConfig) and config.splice:
            spoken = corpus_speech(utterances, recipe.sample_rate)
            splice = Splices(
                spoken, word_times(run), share=config.splice, seed=recipe.seed, sample_rate=recipe.sample_rate
            )
        train = DynamicMixtures(
            utterances,
            ResponseBank.open(run.data),
            recipe.simulation,
            sample_rate=recipe.sample_rate,
            segment_seconds=segment,
            speeds=config.speeds,
            splice=splice,
            **common,
        )
    else:
        train = SimulatedMixtures(run.require_manifest("train"), segment_seconds=segment, **common)
    dev = SimulatedMixtures(run.require_manifest("dev"), limit=config.dev_mixtures, **common)
    return train, dev.in_order(config.batch_size)


def data_fingerprint(run: RunDir, dynamic: bool) -> dict[str, str]:
    """What a training on mixtures reads, as fingerprints of the manifests."""
    train = run.data / "responses.jsonl" if dynamic else run.require_manifest("train")
    if not train.is_file():
        raise SepasrError(
            f"{train}: no bank of room responses, which dynamic_mixing needs; "
            f"set simulation.response_bank and run `sepasr simulate {run.path}`"
        )
    return {"train mixtures": fingerprint(train), "dev mixtures": fingerprint(run.require_manifest("dev"))}


def word_times(run: RunDir) -> Times:
    """Where the run's recogniser found the words of what it learned from.

    Raises:
        SepasrError: where it did not.
    """
    path = run.path / WORDS
    if not path.is_file():
        raise SepasrError(
            f"{path}: not found, which joint_finetune.splice needs; "
            "train the recogniser with pretrain_asr.splice, or leave it out"
        )
    return load_times(path)


def train_model(
    run: RunDir,
    folder: str,
    recipe: Recipe,
    model: SavedModel,
    task: nn.Module,
    train: Batches,
    dev: Sequence[Callable[[], Batch]],
    config: LoopConfig,
    device: str,
    max_minutes: float | None,
    midway: tuple[int, Callable[[], None]] | None = None,
) -> tuple[bool, dict[str, float]]:
    """Train `task` in RUN/`folder` and leave the best weights of `model` there.

    Args:
        midway: a step, and what is to be done before training goes on from there, each time the command is run.

    Returns:
        Whether training came to its end, and what validation says of the weights that were kept.
    """
    path = run.path / folder
    frozen = tuple(f"model.{prefix}" for prefix in model.frozen_prefixes())
    keep_heap()
    trainer = Trainer(task, train, dev, config, path, seed=recipe.seed, device=pick_device(device), frozen=frozen)
    began, done = time.monotonic(), True
    if midway is not None:
        done = trainer.run(max_minutes, until=midway[0])
    if done and midway is not None:
        midway[1]()
        max_minutes = None if max_minutes is None else max_minutes - (time.monotonic() - began) / 60
    done = done and trainer.run(max_minutes)
    scores = trainer.best()
    if scores and trainer.main:
        model.provenance = {"recipe": recipe.fingerprint(), "steps": trainer.progress.step, "dev": scores}
        model.save_pretrained(path)
        numbers = ", ".join(f"{key} {value:.3f}" for key, value in scores.items())
        say(f"{path}: {'finished' if done else 'stopped'} after {trainer.progress.step} steps; kept: {numbers}")
    if not done and trainer.main:
        say(f"{path}: run the command again to go on")
    trainer.close()
    return done, scores
