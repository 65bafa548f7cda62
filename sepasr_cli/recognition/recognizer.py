"""The recogniser: features, SpecAugment, an encoder, and CTC with an attention decoder beside it.

Letters: B batch, N sample, T frame, D feature, U token, V vocabulary.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import Self

from sepasr_cli.errors import SepasrError
from sepasr_cli.features import FeaturesConfig, SSLConfig, build_features
from sepasr_cli.recognition.alignment import align, word_edges
from sepasr_cli.recognition.beam_search import CTCPrefixScorer, DecodingConfig, Weighted, beam_search, greedy
from sepasr_cli.recognition.conformer import Conformer, ConformerConfig
from sepasr_cli.recognition.language_model import LanguageModel
from sepasr_cli.recognition.lexicon import Lexicon
from sepasr_cli.recognition.normalisation import Normalisation, NormalisationKind
from sepasr_cli.recognition.tokens import BLANK_ID, TokenKind, Vocabulary
from sepasr_cli.recognition.transformer_decoder import (
    TransformerDecoder,
    TransformerDecoderConfig,
    log_softmax,
    teacher_forcing,
)
from sepasr_cli.recognition.transformer_encoder import TransformerEncoder, TransformerEncoderConfig
from sepasr_cli.saved_model import SavedModel
from sepasr_cli.settings import Settings

EncoderConfig = Annotated[ConformerConfig | TransformerEncoderConfig, Field(discriminator="kind")]


class SpecAugmentConfig(Settings):
    """SpecAugment (Park et al. 2019); the defaults are those of arXiv 2307.12231.

    The paper masks up to 100 of WavLM's 1024 features; a share says the same of features of any size.
    """

    time_warp: int = Field(5, ge=0, description="frames by which a point in time moves at most; 0: no warping")
    feature_masks: int = Field(4, ge=0)
    feature_mask_share: float = Field(100 / 1024, ge=0, le=1, description="widest mask, as a share of the features")
    time_masks: int = Field(2, ge=0)
    time_mask_width: int = Field(40, ge=0, description="widest mask in frames; never over a quarter of an utterance")


class RecognizerConfig(Settings):
    """A recogniser; the defaults are those of arXiv 2307.12231."""

    kind: Literal["recognizer"] = "recognizer"
    sample_rate: int = Field(16000, gt=0)
    features: FeaturesConfig = SSLConfig()
    normalize: NormalisationKind = Field(
        "utterance",
        description="utterance: each feature to zero mean and unit variance over each utterance; utterance_mean: to "
        "zero mean alone; global: by statistics of the training speech",
    )
    projection: int | None = Field(
        None, gt=0, description="size of a linear layer after normalisation and SpecAugment; None: no linear layer"
    )
    specaugment: SpecAugmentConfig | None = SpecAugmentConfig()
    encoder: EncoderConfig = ConformerConfig()
    decoder: TransformerDecoderConfig = TransformerDecoderConfig()
    ctc_weight: float = Field(0.3, gt=0, le=1, description="share of CTC in the loss; 1: no decoder is made")
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    tokens: TokenKind = "characters"
    bpe_size: int = Field(500, gt=4)
    vocabulary: Vocabulary | None = Field(None, description="None: made from the training text by pretrain-asr")

    @model_validator(mode="before")
    @classmethod
    def _conformer_by_default(cls, values: Any) -> Any:
        encoder = values.get("encoder") if isinstance(values, dict) else None
        return values | {"encoder": {"kind": "conformer"} | encoder} if isinstance(encoder, dict) else values

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.ctc_weight < 1 and self.encoder.size % self.decoder.heads:
            raise ValueError(f"encoder.size {self.encoder.size} cannot be shared by {self.decoder.heads} decoder.heads")
        if self.vocabulary is not None and self.vocabulary.kind != self.tokens:
            raise ValueError(f"tokens is '{self.tokens}', the vocabulary is one of '{self.vocabulary.kind}'")
        return self


@dataclass(frozen=True)
class RecognitionLoss:
    """Losses of each example, all (B,); `attention` and `accuracy` are zero without a decoder."""

    total: Tensor
    ctc: Tensor
    attention: Tensor
    #: Share of the tokens that the decoder predicts right, given those before them.
    accuracy: Tensor


@dataclass(frozen=True)
class Hypothesis:
    """What was recognised, and its score in nats.

    Where they were asked for and are known: `word_times`, start and end of each word in seconds from the audio's start,
    and `word_confidences`, the CTC head's highest probability of a word's tokens, their geometric mean.
    """

    text: str
    tokens: tuple[int, ...]
    score: float
    word_times: tuple[tuple[float, float], ...] | None = None
    word_confidences: tuple[float, ...] | None = None


class Recognizer(SavedModel[RecognizerConfig]):
    """Audio of one speaker to text.

    Raises:
        SepasrError: where the configuration holds no vocabulary, or its features cannot be made.
    """

    kind: ClassVar[str] = "recognizer"
    usage: ClassVar[str] = "transcribe INPUT --model SEPARATOR --recognizer FOLDER"
    Config: ClassVar[type[Settings]] = RecognizerConfig

    def __init__(self, config: RecognizerConfig) -> None:
        super().__init__(config)
        if config.vocabulary is None:
            raise SepasrError("the recogniser has no vocabulary; sepasr pretrain-asr makes it from the training text")
        self.vocabulary = config.vocabulary
        count, size = len(self.vocabulary.tokens), config.encoder.size
        self.features = build_features(config.features, config.sample_rate)
        self.normalisation = Normalisation(config.normalize, self.features.size)
        self.projection = nn.Linear(self.features.size, config.projection) if config.projection else None
        heard = config.projection or self.features.size
        if isinstance(config.encoder, ConformerConfig):
            self.encoder: Conformer | TransformerEncoder = Conformer(config.encoder, heard)
        else:
            self.encoder = TransformerEncoder(config.encoder, heard)
        self.ctc_head = nn.Linear(size, count)
        self.decoder = TransformerDecoder(config.decoder, size, count) if config.ctc_weight < 1 else None

    def frozen_prefixes(self) -> tuple[str, ...]:
        """A frozen self-supervised model is not saved where its name says how to have it."""
        features = self.config.features
        named = isinstance(features, SSLConfig) and features.freeze and features.architecture is None
        return ("features.model.",) if named else ()

    def encode(self, audio: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Audio (B, N) and its lengths (B,) in samples -> encoded (B, T, D) and its lengths in frames.

        Differentiable with respect to the audio. SpecAugment is drawn in training mode alone.
        """
        features, lengths = self.features(audio, lengths)
        features = self.normalisation(features, lengths)
        if self.training and self.config.specaugment is not None:
            features = specaugment(features, lengths, self.config.specaugment)
        if self.projection is not None:
            features = self.projection(features)
        return self.encoder(features, lengths)

    def forward(self, audio: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> RecognitionLoss:
        """The losses of audio (B, N), lengths (B,), with targets (B, U) padded by -1, of target_lengths (B,)."""
        encoded, lengths = self.encode(audio, lengths)
        return self.loss(encoded, lengths, targets, target_lengths)

    def loss(self, encoded: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> RecognitionLoss:
        """The losses of what `encode` gave."""
        ctc = self.ctc_loss(encoded, lengths, targets, target_lengths)
        if self.decoder is None:
            return RecognitionLoss(ctc, ctc, torch.zeros_like(ctc), torch.zeros_like(ctc))
        given, answer = teacher_forcing(targets, target_lengths, self.vocabulary.boundary_id)
        logits = self.decoder(encoded, lengths, given).float()
        attention = smoothed_loss(logits, answer, self.config.label_smoothing)
        right = (logits.argmax(-1) == answer).sum(1) / (target_lengths + 1)
        weight = self.config.ctc_weight
        return RecognitionLoss(weight * ctc + (1 - weight) * attention, ctc, attention, right)

    def ctc_log_probs(self, encoded: Tensor) -> Tensor:
        """Log probabilities (B, T, V) of each frame's token."""
        return log_softmax(self.ctc_head(encoded))

    def ctc_loss(self, encoded: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
        """CTC loss (B,) in nats (Graves et al. 2006); zero where the frames are too few for the tokens."""
        log_probs = self.ctc_log_probs(encoded).transpose(0, 1)
        # PyTorch has no CTC for Apple's GPUs.
        home = torch.device("cpu") if log_probs.device.type == "mps" else log_probs.device
        loss = functional.ctc_loss(
            log_probs.to(home),
            functional.pad(targets, (0, int(targets.shape[1] == 0)), value=BLANK_ID).clamp(min=0).to(home),
            lengths.to(home),
            target_lengths.to(home),
            blank=BLANK_ID,
            reduction="none",
            zero_infinity=True,
        )
        return loss.to(log_probs.device)

    @torch.inference_mode()
    def transcribe(
        self,
        audio: Tensor,
        lengths: Tensor,
        decoding: DecodingConfig,
        language_model: LanguageModel | None = None,
        word_times: bool = False,
    ) -> list[Hypothesis]:
        """The text of each example of audio (B, N) with lengths (B,) in samples; always computed in evaluation mode.

        With `word_times` also when each word was said, by CTC alignment.

        Raises:
            SepasrError: where the method needs a decoder or a language model that is not there or does not fit.
        """
        self._check_decoding(decoding, language_model)
        training = self.training
        self.eval()
        try:
            encoded, frames = self.encode(audio, lengths)
            # Half precision may have encoded; scores are summed over a whole sentence.
            with torch.autocast(audio.device.type, enabled=False):
                encoded = encoded.float()
                found = [
                    Hypothesis(self.vocabulary.decode(tokens), tuple(tokens), score)
                    for tokens, score in self._decode(encoded, frames, decoding, language_model)
                ]
                return self.time_words(found, encoded, frames, audio, lengths) if word_times else found
        finally:
            self.train(training)

    def frame_times(self) -> tuple[float, float]:
        """The centre of the first encoded frame's view of the audio and the distance of two, in seconds."""
        first, step = self.features.frame_times()
        centre = self.encoder.subsampling.centre
        return first + centre(0) * step, (centre(1) - centre(0)) * step

    def time_words(
        self, found: list[Hypothesis], encoded: Tensor, frames: Tensor, audio: Tensor, lengths: Tensor
    ) -> list[Hypothesis]:
        """With word times: hypotheses of encoded (B, T, D) of `frames` (B,) and of audio (B, N) of `lengths` (B,)."""
        log_probs, signals = self.ctc_log_probs(encoded).cpu().numpy(), audio.float().cpu().numpy()
        first, step = self.frame_times()
        timed = []
        for place, hypothesis in enumerate(found):
            signal, inside = signals[place, : lengths[place]], log_probs[place, : frames[place]]
            spans = align(inside, hypothesis.tokens)
            if spans is not None:
                words = [[spans[token] for token in tokens] for tokens in self.vocabulary.words(hypothesis.tokens)]
                spikes = [(first + step * word[0].first, first + step * word[-1].last) for word in words]
                sure = [math.exp(sum(span.log_probability for span in word) / len(word)) for word in words]
                hypothesis = replace(
                    hypothesis,
                    word_times=tuple(word_edges(spikes, signal, self.config.sample_rate)),
                    word_confidences=tuple(round(value, 4) for value in sure),
                )
            timed.append(hypothesis)
        return timed

    def _check_decoding(self, decoding: DecodingConfig, language_model: LanguageModel | None) -> None:
        if decoding.method == "attention" and self.decoder is None:
            raise SepasrError("method is attention, but the recogniser was trained with CTC alone; use beam or greedy")
        weight = decoding.language_model_weight(language_model is not None)
        if weight == 0:
            return
        if language_model is None:
            raise SepasrError(f"lm_weight is {weight:g} without a language model; give one, or lm_weight 0")
        if language_model.vocabulary != self.vocabulary:
            raise SepasrError("the language model's vocabulary is not the recogniser's; train it on the same tokens")

    def _decode(
        self, encoded: Tensor, frames: Tensor, decoding: DecodingConfig, language_model: LanguageModel | None
    ) -> list[tuple[list[int], float]]:
        """Tokens and score of the best sentence of each utterance: encoded (B, T, D), frames (B,)."""
        log_probs = self.ctc_log_probs(encoded)
        if decoding.method == "greedy":
            return [greedy(example[:length]) for example, length in zip(log_probs, frames.tolist(), strict=True)]
        ctc_weight = 0.0 if decoding.method == "attention" else decoding.ctc_weight
        weighted: list[Weighted[Any]] = []
        if self.decoder is None:
            ctc_weight = 1.0
        elif ctc_weight < 1:
            weighted.append(Weighted(self.decoder, self.decoder.start(encoded, frames), 1 - ctc_weight))
        lm_weight = decoding.language_model_weight(language_model is not None)
        if language_model is not None and lm_weight > 0:
            weighted.append(Weighted(language_model, language_model.start(), lm_weight))
        if decoding.words is not None:
            lexicon = _lexicon(decoding.words, self.vocabulary)
            weighted.append(Weighted(lexicon, lexicon.start(len(frames)), 1.0))
        boundary = self.vocabulary.boundary_id
        ctc = CTCPrefixScorer(log_probs, frames, boundary) if ctc_weight > 0 else None
        return beam_search(frames, boundary, decoding, weighted, ctc, ctc_weight)


@lru_cache(maxsize=4)
def _lexicon(words: tuple[str, ...], vocabulary: Vocabulary) -> Lexicon:
    return Lexicon(words, vocabulary)


def smoothed_loss(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Divergence from smoothed targets (Szegedy et al. 2016, section 7), summed over tokens as ESPnet does.

    Args:
        logits: (B, U, V).
        targets: (B, U), -1 where there is none.
        smoothing: what the V - 1 wrong tokens share.

    Returns:
        (B,), zero where the prediction is the smoothed target.

    >>> float(smoothed_loss(torch.tensor([[[0.9, 0.05, 0.05]]]).log(), torch.tensor([[0]]), 0.1).abs() < 1e-6)
    1.0
    """
    log_probs = logits.log_softmax(-1)
    inside = targets >= 0
    wanted = torch.full_like(log_probs, smoothing / (logits.shape[-1] - 1))
    wanted = wanted.scatter(-1, targets.clamp(min=0)[..., None], 1 - smoothing)
    divergence = (torch.special.xlogy(wanted, wanted) - wanted * log_probs).sum(-1)
    return (divergence * inside).sum(1)


def specaugment(features: Tensor, lengths: Tensor, config: SpecAugmentConfig) -> Tensor:
    """Warp and mask features (B, T, D), each example on its own, by PyTorch's random generator; masks hold zeros."""
    size = features.shape[2]
    augmented = []
    for example, length in zip(features, lengths.tolist(), strict=True):
        inside = time_warp(example[:length], config.time_warp)
        keep_features = torch.ones(size, dtype=torch.bool)
        for _ in range(config.feature_masks):
            keep_features[_draw_slice(size, round(config.feature_mask_share * size))] = False
        keep_frames = torch.ones(length, dtype=torch.bool)
        for _ in range(config.time_masks):
            keep_frames[_draw_slice(length, min(config.time_mask_width, length // 4))] = False
        kept = (keep_frames[:, None] & keep_features).to(features.device)
        augmented.append(torch.cat([inside * kept, example[length:]]))
    return torch.stack(augmented)


def time_warp(features: Tensor, furthest: int) -> Tensor:
    """Move a random frame of (T, D) by up to `furthest` frames, stretching one side and squeezing the other."""
    frames = len(features)
    if furthest == 0 or frames <= 2 * furthest + 1:
        return features
    centre = _draw(furthest + 1, frames - furthest)
    moved = _draw(centre - furthest, centre + furthest + 1)
    parts = ((features[:centre], moved), (features[centre:], frames - moved))
    return torch.cat(
        [functional.interpolate(part.T[None], size=length, mode="linear")[0].T for part, length in parts if length]
    )


def _draw(low: int, high: int) -> int:
    """A random integer of low, ..., high - 1."""
    return int(torch.randint(low, high, ()))


def _draw_slice(total: int, widest: int) -> slice:
    """A random part, 0 to `widest` long, of `total` places."""
    width = _draw(0, widest + 1)
    start = _draw(0, total - width + 1)
    return slice(start, start + width)
