"""`sepasr pretrain-lm`: train the language model that the beam search asks beside the recogniser."""

from collections.abc import Sequence
from pathlib import Path

from sepasr_cli.errors import SepasrError
from sepasr_cli.files import fingerprint
from sepasr_cli.pretrained import LANGUAGE_MODEL
from sepasr_cli.recipe import Recipe
from sepasr_cli.recognition.language_model import LanguageModel
from sepasr_cli.recognition.recognizer import RecognizerConfig
from sepasr_cli.recognition.tokens import Vocabulary
from sepasr_cli.rundir import RunDir
from sepasr_cli.saved_model import CONFIG, read_config
from sepasr_cli.settings import validate
from sepasr_cli.stages.pretrain_asr import training_speech, training_vocabulary, validation_speech
from sepasr_cli.stages.training import goal_and_settings, open_run, seed_weights, train_model
from sepasr_cli.training.tasks import LanguageModelTask
from sepasr_cli.training.text import Sentences, read_lines


def pretrain_lm(
    run: Path,
    *,
    recipe: Path | None = None,
    overrides: Sequence[str] = (),
    device: str = "auto",
    max_minutes: float | None = None,
    skip_bad: bool = False,
    restart: bool = False,
) -> None:
    """Train the language model on transcripts and text files; the model is RUN/language_model.

    Its tokens are those of the run's recogniser. Where there is none yet, they are made as `pretrain_asr` makes them,
    so that either may come first.

    Args:
        run: the run directory.
        recipe: a recipe to put in force; by default the run's own.
        overrides: settings to change, as "key.key=value".
        device: auto, cpu, cuda or mps.
        max_minutes: stop after so long, with everything kept to go on.
        skip_bad: leave broken utterances out instead of stopping.
        restart: put an earlier language model aside and begin anew.

    Raises:
        SepasrError: where something is missing, broken, or does not fit.
    """
    directory, resolved = open_run(run, recipe, overrides, device)
    config = resolved.pretrain_lm
    goal, settings = goal_and_settings(config)
    settings = {
        "language_model": resolved.language_model.model_dump(mode="json"),
        # What the files hold counts, not where they lie.
        "pretrain_lm": {key: value for key, value in settings.items() if key not in ("text", "dev_text")},
        "seed": resolved.seed,
    }
    known = _recognizer_vocabulary(directory)
    sources: list[tuple[str, list[str]]] = []
    if config.transcripts or known is None:
        spoken, _ = training_speech(directory, resolved, skip_bad)
        known = known or training_vocabulary(resolved, spoken)
        if config.transcripts:
            # One for each sentence said, however often it is heard.
            sources.append(("transcripts", list({item.text: None for item in spoken})))
    sources += [(str(path), read_lines(path, config.rule)) for path in config.text]
    inputs = {
        "text": fingerprint([texts for _, texts in sources]),
        "tokens": fingerprint(known.model_dump(mode="json")),
    }
    with directory.stage(LANGUAGE_MODEL, settings, inputs, goal, restart) as stage:
        directory.write_recipe(resolved)
        if stage.finished:
            return
        train, dev = (
            Sentences(texts, known, batch_size=config.batch_size, seed=resolved.seed, max_tokens=config.max_tokens)
            for texts in (sources, _validation(directory, resolved, skip_bad))
        )
        seed_weights(resolved, LANGUAGE_MODEL)
        model = LanguageModel(resolved.language_model.model_copy(update={"vocabulary": known}))
        known.save_text(directory.path / LANGUAGE_MODEL / "tokens.txt")
        stage.complete, stage.results = train_model(
            directory,
            LANGUAGE_MODEL,
            resolved,
            model,
            LanguageModelTask(model),
            train,
            dev.in_order(),
            config,
            device,
            max_minutes,
        )


def _recognizer_vocabulary(run: RunDir) -> Vocabulary | None:
    """The tokens of the run's recogniser; None where there is none yet."""
    folder = run.path / "recognizer"
    if not (folder / CONFIG).is_file():
        return None
    config = validate(RecognizerConfig, read_config(folder)["config"], str(folder / CONFIG))
    assert isinstance(config, RecognizerConfig)
    return config.vocabulary


def _validation(run: RunDir, recipe: Recipe, skip_bad: bool) -> list[tuple[str, list[str]]]:
    config = recipe.pretrain_lm
    found = [(str(path), read_lines(path, config.rule)) for path in config.dev_text]
    if config.transcripts:
        spoken = validation_speech(run, recipe, skip_bad)
        found.append(("dev transcripts", list({item.text: None for item in spoken})))
    if not found:
        raise SepasrError("pretrain_lm: nothing to validate on; name files in dev_text, or set transcripts: true")
    return found
