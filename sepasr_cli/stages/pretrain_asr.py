"""`sepasr pretrain-asr`: train the recogniser on single-speaker speech."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from sepasr_cli.corpora import read_corpora
from sepasr_cli.device import pick_device
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import fingerprint
from sepasr_cli.pretrained import load_recognizer, load_separator
from sepasr_cli.progress import progress
from sepasr_cli.recipe import Recipe
from sepasr_cli.recognition.recognizer import Hypothesis, Recognizer
from sepasr_cli.recognition.tokens import Vocabulary
from sepasr_cli.rundir import RunDir
from sepasr_cli.saved_model import weights_fingerprint
from sepasr_cli.separation import Separator
from sepasr_cli.stages.training import (
    WORDS,
    goal_and_settings,
    open_run,
    seed_weights,
    train_model,
    training_utterances,
)
from sepasr_cli.training.mixtures import SimulatedMixtures
from sepasr_cli.training.separated import separate_mixtures, separated_speech
from sepasr_cli.training.speech import LabelledSpeech, Speech, corpus_speech, reference_speech
from sepasr_cli.training.splicing import Splices, Times, load_times, save_times
from sepasr_cli.training.tasks import RecognitionTask

#: In a run directory: what the separator made of the mixtures.
SEPARATED = Path("recognizer", "separated")
#: Kinds of speech that new utterances are made of: those without the echo of a room between the words.
SPLICED = ("corpus", "separated")


def pretrain_asr(
    run: Path,
    *,
    recipe: Path | None = None,
    overrides: Sequence[str] = (),
    device: str = "auto",
    max_minutes: float | None = None,
    skip_bad: bool = False,
    restart: bool = False,
) -> None:
    """Train the recogniser on `corpora.train`, the sources of the training mixtures, or both; it is RUN/recognizer.

    Args:
        run: the run directory.
        recipe: a recipe to put in force; by default the run's own.
        overrides: settings to change, as "key.key=value".
        device: auto, cpu, cuda or mps.
        max_minutes: stop after so long, with everything kept to go on.
        skip_bad: leave broken utterances out instead of stopping.
        restart: put an earlier recogniser aside and begin anew.

    Raises:
        SepasrError: where something is missing, broken, or does not fit.
    """
    directory, resolved = open_run(run, recipe, overrides, device)
    config = resolved.pretrain_asr
    goal, settings = goal_and_settings(config)
    settings = {
        "recognition": resolved.recognition.model_dump(mode="json"),
        "pretrain_asr": settings,
        "seed": resolved.seed,
    }
    spoken, inputs = training_speech(directory, resolved, skip_bad)
    initial = None
    if config.initial is not None:
        initial = _initial(config.initial, resolved)
        inputs["initial"] = weights_fingerprint(initial)
    separator = None
    if "separated" in config.speech:
        separator = load_separator(config.separator or str(directory.path), pick_device(device), system="cascade")
        inputs["separator"] = weights_fingerprint(separator)
    with directory.stage("recognizer", settings, inputs, goal, restart) as stage:
        directory.write_recipe(resolved)
        if stage.finished:
            return
        if separator is not None:
            _separate(separator, directory, resolved)
        seed_weights(resolved, "recognizer")
        vocabulary = training_vocabulary(resolved, spoken) if initial is None else initial.vocabulary
        model = initial or Recognizer(resolved.recognition.model_copy(update={"vocabulary": vocabulary}))
        vocabulary.save_text(directory.path / "recognizer" / "tokens.txt")
        train = Speech(spoken, vocabulary, batch_size=config.batch_size, seed=resolved.seed, speeds=config.speeds)
        dev_speech = validation_speech(directory, resolved, skip_bad)
        dev = Speech(dev_speech, vocabulary, batch_size=config.batch_size, seed=resolved.seed)
        if model.normalisation.kind == "global" and initial is None:
            _measure(model, train, config.batch_size, device)
        task = RecognitionTask(model)
        midway = None
        if config.splice:
            splice = partial(_splice, directory, train, model, resolved)
            midway = (config.splice_from, splice)
        stage.complete, stage.results = train_model(
            directory,
            "recognizer",
            resolved,
            model,
            task,
            train,
            dev.in_order(config.batch_size),
            config,
            device,
            max_minutes,
            midway,
        )


def _initial(name: str, recipe: Recipe) -> Recognizer:
    """The recogniser that training starts from.

    Raises:
        SepasrError: where it is not there, or does not fit.
    """
    found = load_recognizer(name, recipe.sample_rate)
    if isinstance(found, Recognizer) and recipe.recognition == found.config.model_copy(update={"vocabulary": None}):
        return found
    raise SepasrError(
        f"pretrain_asr.initial: {name} has other sizes than the recipe's recognition; make them equal, or leave it out"
    )


def _separate(separator: Separator, run: RunDir, recipe: Recipe) -> None:
    """Make the separated speech of both splits."""
    config = recipe.pretrain_asr
    for split in ("train", "dev"):
        mixtures = SimulatedMixtures(
            run.require_manifest(split),
            reference=recipe.pretrain_sep.reference,
            microphones=separator.config.microphones,
            batch_size=1,
            seed=recipe.seed,
            microphone_counts=config.microphone_counts,
        )
        separate_mixtures(separator, mixtures, run.path / SEPARATED / split, bf16=config.precision == "bf16")


def _splice(run: RunDir, train: Speech, model: Recognizer, recipe: Recipe) -> None:
    """From now on, new utterances are made of the words; where these are is found once and kept."""
    path = run.path / WORDS
    if not path.is_file():
        heard = [item for item in train.speech if item.kind == "corpus"]
        if any(item.kind == "separated" for item in train.speech):
            # Found where they are clear: the references go by the same names.
            heard += reference_speech(run.require_manifest("train"), recipe.pretrain_sep.reference)
        save_times(path, _word_times(model, heard, recipe))
    train.splice = Splices(
        [item for item in train.speech if item.kind in SPLICED],
        load_times(path),
        share=recipe.pretrain_asr.splice,
        seed=recipe.seed,
        sample_rate=recipe.sample_rate,
    )


@torch.no_grad()
def _word_times(model: Recognizer, speech: Sequence[LabelledSpeech], recipe: Recipe) -> Times:
    """Where each word of the transcripts is, by the model as it stands; without those that it cannot align."""
    training = model.training
    model.eval()
    home = next(model.parameters()).device
    found: Times = {}
    batches = Speech(speech, model.vocabulary, batch_size=recipe.pretrain_asr.batch_size, seed=recipe.seed)
    texts = {item.id: item.text for item in speech}
    makers = batches.in_order(recipe.pretrain_asr.batch_size)
    with progress("finding words", len(makers)) as advance:
        for make in makers:
            batch = make().to(home)
            encoded, frames = model.encode(batch.audio, batch.lengths)
            said = [
                Hypothesis(texts[name], tuple(row[row >= 0].tolist()), 0.0)
                for name, row in zip(batch.ids, batch.targets, strict=True)
            ]
            timed = model.time_words(said, encoded, frames, batch.audio, batch.lengths)
            for name, one in zip(batch.ids, timed, strict=True):
                if one.word_times is not None and len(one.word_times) == len(one.text.split()):
                    found[name] = list(one.word_times)
            advance()
    model.train(training)
    return found


def training_speech(run: RunDir, recipe: Recipe, skip_bad: bool) -> tuple[list[LabelledSpeech], dict[str, str]]:
    """What the recogniser learns from, and fingerprints of where that comes from."""
    inputs, spoken = {}, []
    if "corpus" in recipe.pretrain_asr.speech:
        utterances = [utterance for utterance in training_utterances(recipe, skip_bad) if utterance.text]
        if not utterances:
            raise SepasrError("corpora.train: no utterance has a transcript; the recogniser needs some, add a corpus")
        inputs["training utterances"] = fingerprint([[one.id, one.text, one.duration] for one in utterances])
        spoken += corpus_speech(utterances, recipe.sample_rate)
    if set(recipe.pretrain_asr.speech) - {"corpus"}:
        inputs["train mixtures"] = fingerprint(run.require_manifest("train"))
    return spoken + _speech_of_mixtures(run, recipe, "train"), inputs


def _speech_of_mixtures(run: RunDir, recipe: Recipe, split: Literal["train", "dev"]) -> list[LabelledSpeech]:
    """Of a split's sources, reference signals and what the separator makes of them."""
    spoken = []
    for kind in recipe.pretrain_asr.speech:
        if kind == "separated":
            spoken += separated_speech(run.require_manifest(split), run.path / SEPARATED / split)
        elif kind != "corpus":
            spoken += reference_speech(run.require_manifest(split), kind)
    return spoken


def training_vocabulary(recipe: Recipe, spoken: Sequence[LabelledSpeech]) -> Vocabulary:
    """The tokens that the recogniser's training text gives."""
    return Vocabulary.train([item.text for item in spoken], recipe.recognition.tokens, recipe.recognition.bpe_size)


@torch.no_grad()
def _measure(model: Recognizer, speech: Speech, batch_size: int, device: str) -> None:
    """Give the model the statistics of the features of the training speech."""
    home = pick_device(device)
    model.to(home).eval()
    makers = speech.in_order(batch_size)
    with progress("measuring features", len(makers)) as advance:

        def features() -> Iterator[tuple[Tensor, Tensor]]:
            for make in makers:
                batch = make().to(home)
                yield model.features(batch.audio, batch.lengths)
                advance()

        model.normalisation.measure(features())
    model.train()


def validation_speech(run: RunDir, recipe: Recipe, skip_bad: bool) -> list[LabelledSpeech]:
    """The dev split: the same kinds of speech as in training."""
    spoken = _speech_of_mixtures(run, recipe, "dev")
    if "corpus" in recipe.pretrain_asr.speech:
        utterances = read_corpora(recipe.corpora.dev, skip_bad=skip_bad, sample_rate=recipe.sample_rate)
        spoken += corpus_speech(utterances, recipe.sample_rate)
    if not spoken:
        raise SepasrError("corpora.dev: no utterance has a transcript; validation needs some, add a corpus")
    return spoken
