"""`sepasr pretrain-asr`: train the recogniser on single-speaker speech."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from sepasr_cli.corpora import read_corpora
from sepasr_cli.device import pick_device
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import fingerprint
from sepasr_cli.progress import progress
from sepasr_cli.recipe import Recipe
from sepasr_cli.recognition.recognizer import Hypothesis, Recognizer
from sepasr_cli.recognition.tokens import Vocabulary
from sepasr_cli.rundir import RunDir
from sepasr_cli.stages.training import goal_and_settings, open_run, seed_weights, train_model, training_utterances
from sepasr_cli.training.speech import LabelledSpeech, Speech, corpus_speech, reference_speech
from sepasr_cli.training.splicing import Splices, Times, load_times, save_times
from sepasr_cli.training.tasks import RecognitionTask


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
    with directory.stage("recognizer", settings, inputs, goal, restart) as stage:
        directory.write_recipe(resolved)
        if stage.finished:
            return
        vocabulary = training_vocabulary(resolved, spoken)
        seed_weights(resolved, "recognizer")
        model = Recognizer(resolved.recognition.model_copy(update={"vocabulary": vocabulary}))
        vocabulary.save_text(directory.path / "recognizer" / "tokens.txt")
        train = Speech(spoken, vocabulary, batch_size=config.batch_size, seed=resolved.seed, speeds=config.speeds)
        dev_speech = validation_speech(directory, resolved, skip_bad)
        dev = Speech(dev_speech, vocabulary, batch_size=config.batch_size, seed=resolved.seed)
        if model.normalisation.kind == "global":
            _measure(model, train, config.batch_size, device)
        task = RecognitionTask(model)
        midway = None
        if config.splice:
            splice = partial(_splice, directory.path / "recognizer" / "words.json", train, model, resolved)
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


def _splice(path: Path, train: Speech, model: Recognizer, recipe: Recipe) -> None:
    """From now on, new utterances are made of the corpus's words; where these are is found once and kept at `path`."""
    if not path.is_file():
        times = _word_times(model, [item for item in train.speech if item.dry], recipe)
        save_times(path, times)
    train.change = Splices(
        train.speech,
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
    for reference in recipe.pretrain_asr.speech:
        if reference != "corpus":
            manifest = run.require_manifest("train")
            inputs["train mixtures"] = fingerprint(manifest)
            spoken += reference_speech(manifest, reference)
    return spoken, inputs


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
    config = recipe.pretrain_asr
    spoken = []
    if "corpus" in config.speech:
        utterances = read_corpora(recipe.corpora.dev, skip_bad=skip_bad, sample_rate=recipe.sample_rate)
        spoken += corpus_speech(utterances, recipe.sample_rate)
    for reference in config.speech:
        if reference != "corpus":
            spoken += reference_speech(run.require_manifest("dev"), reference)
    if not spoken:
        raise SepasrError("corpora.dev: no utterance has a transcript; validation needs some, add a corpus")
    return spoken
