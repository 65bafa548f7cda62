"""An ESPnet experiment as a model of ours: settings first, then weights by rules."""

from collections.abc import Mapping
from itertools import chain
from typing import Any

from torch import Tensor

from sepasr_cli.errors import SepasrError
from sepasr_cli.joint import JointConfig, JointModel
from sepasr_cli.pretrained.espnet.experiment import Experiment
from sepasr_cli.pretrained.espnet.options import Options
from sepasr_cli.pretrained.espnet.recognizers import (
    language_model_config,
    language_model_rules,
    recognizer_config,
    recognizer_rules,
)
from sepasr_cli.pretrained.espnet.rules import apply
from sepasr_cli.pretrained.espnet.separators import separator_config, separator_rules
from sepasr_cli.pretrained.espnet.wavlm import wavlm_architecture
from sepasr_cli.recognition.language_model import LanguageModel
from sepasr_cli.recognition.recognizer import Recognizer
from sepasr_cli.saved_model import SavedModel
from sepasr_cli.separation import build_separator
from sepasr_cli.settings import validate

#: Prefixes of the weights of a joint experiment.
ENHANCEMENT, RECOGNITION = "enh_model.", "s2t_model."


def convert(experiment: Experiment, sample_rate: int = 16000) -> SavedModel:
    """The separator, recogniser, language model or joint model that an experiment trained.

    Args:
        experiment: as it was read.
        sample_rate: of a separator in Hz, which its settings do not tell.

    Raises:
        SepasrError: where it is another kind of model, or its settings or weights are not all understood.
    """
    options, origin = Options(experiment.config, str(experiment.config_path)), str(experiment.weights_path)
    model: SavedModel
    if options.has("enh_separator"):
        return _joint(options, experiment.weights, origin)
    if options.has("separator"):
        config = separator_config(options, sample_rate)
        model, rules = build_separator(config), separator_rules(config)
    elif options.has("encoder") and options.has("token_list"):
        heard = recognizer_config(options, lambda: _architecture(experiment.weights, "", origin))
        model, rules = Recognizer(heard), recognizer_rules(heard)
    elif options.has("lm"):
        language = language_model_config(options)
        model, rules = LanguageModel(language), language_model_rules(language)
    else:
        raise SepasrError(
            f"{options.where}: found no separator, encoder or lm; import knows ESPnet2's tasks enh, asr, enh_s2t and lm"
        )
    apply(rules, experiment.weights, model, origin)
    return model.eval()


def _joint(options: Options, weights: Mapping[str, Tensor], origin: str) -> JointModel:
    tasks = options.take("subtask_series", ["enh", "asr"])
    if list(tasks) != ["enh", "asr"]:
        raise SepasrError(f"{options.where}: subtask_series is {tasks}; import knows enh, asr")
    heard = recognizer_config(options, lambda: _architecture(weights, RECOGNITION, origin), "asr_")
    separating = separator_config(options, heard.sample_rate, "enh_")
    parts = {"separator": separating, "recognizer": heard}
    config = validate(JointConfig, parts, options.where)
    model = JointModel(config)
    rules = chain(
        (rule.prefixed("separator.", ENHANCEMENT) for rule in separator_rules(separating)),
        (rule.prefixed("recognizer.", RECOGNITION) for rule in recognizer_rules(heard)),
    )
    apply(rules, weights, model, origin)
    return model.eval()


def _architecture(weights: Mapping[str, Tensor], prefix: str, origin: str) -> dict[str, Any]:
    upstream = f"{prefix}frontend.upstream.upstream.model."
    found = {name.removeprefix(upstream): value for name, value in weights.items() if name.startswith(upstream)}
    return wavlm_architecture(found, f"{origin}: {upstream}")
