"""Recognisers that others have trained, in place of ours: CTC models and Whisper of transformers.

Letters: B batch, N sample, T frame, D feature, V vocabulary.
"""

import json
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torchaudio.functional
from pydantic import Field
from torch import Tensor, nn

from sepasr_cli.errors import SepasrError
from sepasr_cli.features.ssl import FAMILIES, SSLConfig, SSLFeatures
from sepasr_cli.hub import quiet, unavailable
from sepasr_cli.recognition.beam_search import DecodingConfig
from sepasr_cli.recognition.language_model import LanguageModel
from sepasr_cli.recognition.recognizer import Hypothesis, Recognizer
from sepasr_cli.recognition.tokens import BLANK, BOUNDARY, SPACE, UNKNOWN, Vocabulary
from sepasr_cli.saved_model import SavedModel
from sepasr_cli.settings import Settings

#: What a local folder of each holds.
CTC_FILES = ("config.json", "model.safetensors", "preprocessor_config.json", "tokenizer_config.json", "vocab.json")
WHISPER_FILES = (
    "config.json",
    "model.safetensors",
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
)
REMEDY = "give its path"

#: Log probability of a token that the model does not have.
NEVER = -100.0


class PretrainedCTCConfig(Settings):
    """A CTC model as it came, whole: weights saved with this need no hub.

    `architecture` is transformers' configuration; `columns` tells for each token of the vocabulary which output of the
    model's head it is, -1 for none.
    """

    kind: Literal["pretrained_ctc"] = "pretrained_ctc"
    name: str
    sample_rate: int = Field(16000, gt=0)
    model_rate: int = Field(16000, gt=0)
    normalise: bool
    architecture: dict[str, Any]
    vocabulary: Vocabulary
    columns: tuple[int, ...]


class PretrainedCTC(Recognizer):
    """A wav2vec 2.0, HuBERT, WavLM or data2vec model with a CTC head, used and fine-tuned like our recogniser.

    Its convolutions stay as they are, as is usual in fine-tuning; gradients flow through them to the audio.
    """

    kind: ClassVar[str] = "pretrained_ctc"
    Config: ClassVar[type[Settings]] = PretrainedCTCConfig
    config: Any

    def __init__(self, config: PretrainedCTCConfig) -> None:
        from transformers import AutoConfig, AutoModel

        # Of the class above only what comes after the encoder is taken.
        super(Recognizer, self).__init__(config)  # type: ignore[arg-type]
        self.vocabulary = config.vocabulary
        architecture = AutoConfig.for_model(**config.architecture)
        source = AutoModel.from_config(architecture), {"sampling_rate": config.model_rate}
        features = SSLConfig(name=config.name, layers="last", reduction=None, freeze=False, normalise=config.normalise)
        self.features = SSLFeatures(features, config.sample_rate, source)
        self.features.model.feature_extractor.requires_grad_(False)
        self.dropout = nn.Dropout(architecture.final_dropout)
        self.ctc_head = nn.Linear(self.features.size, architecture.vocab_size)
        self.decoder = None

    def frozen_prefixes(self) -> tuple[str, ...]:
        """Everything is saved."""
        return ()

    def encode(self, audio: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Audio (B, N) and its lengths (B,) in samples -> the last layer (B, T, D) and its lengths in frames."""
        features, lengths = self.features(audio, lengths)
        return self.dropout(features), lengths

    def frame_times(self) -> tuple[float, float]:
        """Those of the model's convolutions."""
        return self.features.frame_times()

    def ctc_log_probs(self, encoded: Tensor) -> Tensor:
        """Log probabilities (B, T, V) of each frame's token, in the order of our vocabulary."""
        log_probs = self.ctc_head(encoded).float().log_softmax(-1)
        log_probs = torch.nn.functional.pad(log_probs, (0, 1), value=NEVER)  # the last one for what it does not have
        return log_probs[..., list(self.config.columns)]

    @classmethod
    def load(cls, name: str, sample_rate: int) -> "PretrainedCTC":
        """The model of a Hugging Face name or local folder, for audio at `sample_rate` Hz.

        Raises:
            SepasrError: where it cannot be had, is no CTC model, or its tokens are not characters.
        """
        from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer

        theirs: Any
        try:
            settings = AutoConfig.from_pretrained(name, trust_remote_code=False)
            settings.layerdrop, settings.apply_spec_augment = 0.0, False
            theirs, report = AutoModelForCTC.from_pretrained(
                name, config=settings, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
            extractor = AutoFeatureExtractor.from_pretrained(name, trust_remote_code=False)
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        except (OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
            raise SepasrError(f"recognizer {unavailable(name, CTC_FILES, REMEDY, error)}") from error
        missing = sorted(set(report["missing_keys"]) - {f"{theirs.base_model_prefix}.masked_spec_embed"})
        if missing:
            raise SepasrError(
                f"recognizer '{name}': lacks {len(missing)} weights ({missing[0]} first); give one that was trained "
                "to recognise, not to represent"
            )
        vocabulary, columns = _characters(name, tokenizer)
        model = cls(
            PretrainedCTCConfig(
                name=name,
                sample_rate=sample_rate,
                model_rate=int(extractor.sampling_rate),
                normalise=bool(extractor.do_normalize),
                architecture=json.loads(settings.to_json_string(use_diff=False)),
                vocabulary=vocabulary,
                columns=columns,
            )
        )
        features: Any = model.features
        features.model.load_state_dict(theirs.base_model.state_dict())
        model.ctc_head.load_state_dict(theirs.lm_head.state_dict())
        return model.eval()


def _characters(name: str, tokenizer: Any) -> tuple[Vocabulary, tuple[int, ...]]:
    """Our vocabulary of a CTC tokenizer's characters, and the output that stands for each of its tokens."""
    ids: dict[str, int] = tokenizer.get_vocab()
    special = {tokenizer.pad_token, tokenizer.unk_token, tokenizer.bos_token, tokenizer.eos_token}
    delimiter = tokenizer.word_delimiter_token
    characters = [token for token in sorted(ids, key=ids.__getitem__) if token not in (*special, delimiter)]
    long = [token for token in characters if len(token) != 1]
    if tokenizer.pad_token_id is None or not characters or long:
        found = f"'{long[0]}'" if long else "no characters and blank"
        raise SepasrError(f"recognizer '{name}': found {found} among its tokens; expected a model of characters")
    space = [SPACE] if delimiter in ids else []
    cased = {test for char in characters for test in ("upper", "lower") if getattr(char, f"is{test}")()}
    vocabulary = Vocabulary(
        kind="characters",
        tokens=(BLANK, UNKNOWN, *space, *characters, BOUNDARY),
        case=cased.pop() if len(cased) == 1 else "keep",
    )
    theirs = [tokenizer.pad_token, tokenizer.unk_token, *([delimiter] if space else []), *characters]
    return vocabulary, (*(ids.get(token, -1) for token in theirs), ids.get(tokenizer.eos_token, -1))


class WhisperConfig(Settings):
    """A Whisper model, by Hugging Face name or local folder."""

    kind: Literal["whisper"] = "whisper"
    name: str
    sample_rate: int = Field(16000, gt=0)


class Whisper(SavedModel[WhisperConfig]):
    """Whisper (Radford et al. 2022, arXiv 2212.04356) as a recogniser; it transcribes, and is not trained here.

    Raises:
        SepasrError: where the model cannot be had.
    """

    kind: ClassVar[str] = "whisper"
    Config: ClassVar = WhisperConfig

    def __init__(self, config: WhisperConfig) -> None:
        from transformers import AutoProcessor, WhisperForConditionalGeneration

        super().__init__(config)
        try:
            self.model = WhisperForConditionalGeneration.from_pretrained(
                config.name, use_safetensors=True, trust_remote_code=False
            )
            self.processor = AutoProcessor.from_pretrained(config.name, trust_remote_code=False)
        except (OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
            raise SepasrError(f"recognizer {unavailable(config.name, WHISPER_FILES, REMEDY, error)}") from error
        self.model.requires_grad_(False)

    def frozen_prefixes(self) -> tuple[str, ...]:
        """The model is named in the configuration and not saved."""
        return ("model.",)

    @torch.no_grad()
    def transcribe(
        self,
        audio: Tensor,
        lengths: Tensor,
        decoding: DecodingConfig,
        language_model: LanguageModel | None = None,
        word_times: bool = False,
    ) -> list[Hypothesis]:
        """The text of each example of audio (B, N), at most 30 s long, with lengths (B,) in samples.

        The language is the one that Whisper hears. `decoding.beam` is its number of beams; greedy takes one.

        Raises:
            SepasrError: where a language model is given or word times are asked for, which it has no use for or lacks.
        """
        if word_times:
            raise SepasrError(
                "Whisper has no CTC head to take word times from; leave --word-times out, or --recognizer"
            )
        if language_model is not None:
            raise SepasrError("Whisper takes no language model; leave it out, or take a CTC recogniser")
        rate = self.processor.feature_extractor.sampling_rate
        heard = torchaudio.functional.resample(audio.float(), self.config.sample_rate, rate).cpu()
        ends = [-(-length * rate // self.config.sample_rate) for length in lengths.tolist()]
        signals = [signal[:end].numpy() for signal, end in zip(heard, ends, strict=True)]
        inputs = self.processor(signals, sampling_rate=rate, return_tensors="pt", return_attention_mask=True)
        output = self.model.eval().generate(
            inputs.input_features.to(self.model.device),
            attention_mask=inputs.attention_mask.to(self.model.device),
            num_beams=1 if decoding.method == "greedy" else decoding.beam,
            return_dict_in_generate=True,
            output_scores=True,
        )
        texts = self.processor.batch_decode(output.sequences, skip_special_tokens=True)
        scores = output.sequences_scores.tolist() if "sequences_scores" in output else [0.0] * len(texts)
        return [
            Hypothesis(" ".join(text.split()), tuple(tokens), score)
            for text, tokens, score in zip(texts, output.sequences.tolist(), scores, strict=True)
        ]


def load_ready_made(name: str, sample_rate: int) -> PretrainedCTC | Whisper:
    """A transformers recogniser by Hugging Face name or local folder, for audio at `sample_rate` Hz.

    Raises:
        SepasrError: where it cannot be had, or is of no kind that recognises.
    """
    from transformers import AutoConfig

    quiet()
    try:
        family = AutoConfig.from_pretrained(name, trust_remote_code=False).model_type
    except (OSError, ValueError) as error:
        raise SepasrError(f"recognizer {unavailable(name, CTC_FILES, REMEDY, error)}") from error
    if family == "whisper":
        return Whisper(WhisperConfig(name=name, sample_rate=sample_rate)).eval()
    if family not in FAMILIES:
        expected = f"one of {', '.join(FAMILIES)} with CTC, or whisper"
        raise SepasrError(f"recognizer '{name}': a model of type '{family}'; expected {expected}")
    return PretrainedCTC.load(name, sample_rate)


def is_ready_made(folder: Path) -> bool:
    """Whether a local folder holds a model of transformers, whose config.json names its `model_type`."""
    try:
        return "model_type" in json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
