"""`sepasr import-espnet`: a model trained with ESPnet2 becomes one of ours."""

from pathlib import Path

from sepasr_cli.errors import SepasrError
from sepasr_cli.inference.inputs import refuse_to_replace
from sepasr_cli.joint import JointModel
from sepasr_cli.pretrained.espnet.convert import convert
from sepasr_cli.pretrained.espnet.experiment import experiments
from sepasr_cli.progress import say
from sepasr_cli.recognition.language_model import LanguageModel
from sepasr_cli.recognition.recognizer import Recognizer
from sepasr_cli.saved_model import CONFIG, SavedModel

#: Folder of a language model beside the recogniser that it goes with.
LANGUAGE_MODEL = "language_model"


def import_espnet(
    source: str,
    out: Path | str,
    language_model: str | None = None,
    checkpoint: str | None = None,
    sample_rate: int = 16000,
    overwrite: bool = False,
) -> SavedModel:
    """Make a saved model of an ESPnet2 experiment: a separator, a recogniser, both as one, or a language model.

    A packed model's language model, or the one named, goes into OUT/language_model.

    Args:
        source: an experiment's folder, a zip packed by ESPnet2, or a Hugging Face name.
        out: the folder of the model, for `--model`.
        language_model: the language model's own source, where it is not packed with the recogniser.
        checkpoint: which checkpoint of the folder; by default the averaged or the best one.
        sample_rate: of a separator in Hz; a recogniser's settings tell theirs.
        overwrite: replace a model that is there.

    Returns:
        The model (the language model is only written).

    Raises:
        SepasrError: where the source cannot be had or read, or settings or weights are not all understood: then nothing
            is written.
    """
    out = Path(out)
    if not overwrite:
        refuse_to_replace([out / CONFIG])
    with experiments(source, checkpoint) as found:
        models = [(str(one.config_path), convert(one, sample_rate)) for one in found]
    if language_model is not None:
        with experiments(language_model) as found:
            models += [(str(one.config_path), convert(one)) for one in found]
    main = [model for _, model in models if not isinstance(model, LanguageModel)]
    spoken = [model for _, model in models if isinstance(model, LanguageModel)]
    if len(main) > 1 or len(spoken) > 1:
        raise SepasrError(f"{source}: holds {len(main)} models and {len(spoken)} language models; expected one of each")
    model = (main or spoken)[0]
    if main and spoken:
        _check_tokens(model, spoken[0], source)
    model.provenance = {"imported_from": source}
    model.save_pretrained(out)
    if main and spoken:
        spoken[0].provenance = {"imported_from": language_model or source}
        spoken[0].save_pretrained(out / LANGUAGE_MODEL)
    count = sum(value.numel() for value in model.state_dict().values())
    beside = f", with a language model in {LANGUAGE_MODEL}/" if main and spoken else ""
    say(f"{out}: {model.kind}, {count / 1e6:.1f} million weights{beside}")
    return model


def _check_tokens(model: SavedModel, language_model: LanguageModel, source: str) -> None:
    recognizer = model.recognizer if isinstance(model, JointModel) else model
    if not isinstance(recognizer, Recognizer):
        raise SepasrError(f"{source}: holds a {model.kind}, which takes no language model; import it alone")
    if recognizer.vocabulary != language_model.vocabulary:
        raise SepasrError(f"{source}: the language model has other tokens than the recogniser; give one of its tokens")
