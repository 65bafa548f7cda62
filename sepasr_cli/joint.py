"""Separation and recognition as one differentiable model (arXiv 2307.12231, section 2).

Letters: B batch, S speaker, M microphone, N sample, T frame, D feature, U token.
"""

from dataclasses import dataclass
from itertools import permutations
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import torch
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor
from typing_extensions import Self

from sepasr_cli.errors import SepasrError
from sepasr_cli.recognition.beam_search import DecodingConfig
from sepasr_cli.recognition.language_model import LanguageModel
from sepasr_cli.recognition.ready_made import PretrainedCTC, PretrainedCTCConfig, Whisper, WhisperConfig
from sepasr_cli.recognition.recognizer import Hypothesis, RecognitionLoss, Recognizer, RecognizerConfig
from sepasr_cli.saved_model import SavedModel
from sepasr_cli.separation import AnySeparatorConfig, Separator, build_separator
from sepasr_cli.settings import Settings, validate

AnyRecognizer: TypeAlias = Recognizer | Whisper
RECOGNIZERS: dict[str, type[AnyRecognizer]] = {kind.kind: kind for kind in (Recognizer, PretrainedCTC, Whisper)}


def _ours_unless_said(value: Any) -> Any:
    return {"kind": "recognizer", **value} if isinstance(value, dict) else value


class JointConfig(Settings):
    """A separator and the recogniser that listens to each of its outputs."""

    separator: AnySeparatorConfig
    recognizer: Annotated[
        Annotated[RecognizerConfig | PretrainedCTCConfig | WhisperConfig, Field(discriminator="kind")],
        BeforeValidator(_ours_unless_said),
    ]

    @model_validator(mode="after")
    def _rates_agree(self) -> Self:
        ours, theirs = self.separator.sample_rate, self.recognizer.sample_rate
        if ours != theirs:
            raise ValueError(f"the separator works at {ours} Hz, the recogniser at {theirs} Hz; they must be equal")
        return self


@dataclass(frozen=True)
class JointResult:
    """What one pass through both models gives.

    estimates (B, S, N); order (B, S): for each reference the index of the estimate that was matched with it;
    encoded (B * S, T, D) and frames (B * S,): what the encoder made of each reference's estimate;
    recognition: losses of the matched pairs, each field (B * S,).
    """

    estimates: Tensor
    order: Tensor
    encoded: Tensor
    frames: Tensor
    recognition: RecognitionLoss


class JointModel(SavedModel[JointConfig]):
    """Mixture in, one transcript a speaker out."""

    kind: ClassVar[str] = "joint"
    Config: ClassVar[type[Settings]] = JointConfig

    def __init__(self, config: JointConfig, parts: tuple[Separator, AnyRecognizer] | None = None) -> None:
        super().__init__(config)
        if parts is None:
            recognizer: Any = RECOGNIZERS[config.recognizer.kind]
            parts = build_separator(config.separator), recognizer(config.recognizer)
        self.separator: Separator
        self.recognizer: AnyRecognizer
        self.separator, self.recognizer = parts

    @classmethod
    def join(cls, separator: Separator, recognizer: AnyRecognizer) -> "JointModel":
        """A joint model with the weights of two that were trained apart.

        Raises:
            SepasrError: where they do not work at one sample rate.
        """
        configs = {"separator": separator.config, "recognizer": recognizer.config}
        config = validate(JointConfig, configs, "a separator and a recogniser trained apart")
        return cls(config, (separator, recognizer))

    @property
    def trainable_recognizer(self) -> Recognizer:
        """The recogniser, which gives losses.

        Raises:
            SepasrError: where it only transcribes.
        """
        if not isinstance(self.recognizer, Recognizer):
            raise SepasrError(f"a {self.recognizer.kind} only transcribes; fine-tuning takes a CTC recogniser")
        return self.recognizer

    def frozen_prefixes(self) -> tuple[str, ...]:
        """The SSL model's weights are kept by whoever made them."""
        return tuple(f"recognizer.{prefix}" for prefix in self.recognizer.frozen_prefixes())

    def forward(
        self,
        mixture: Tensor,
        lengths: Tensor,
        targets: Tensor,
        target_lengths: Tensor,
        order: Literal["ctc"] | Tensor = "ctc",
        estimates: Tensor | None = None,
    ) -> JointResult:
        """Separate, recognise, and match speakers with transcripts.

        Args:
            mixture: (B, M, N).
            lengths: (B,) in samples; where `estimates` are given, also (B, S), of each of them.
            targets: (B, S, U), padded with -1.
            target_lengths: (B, S).
            order: "ctc" takes the order of least CTC loss over all S!; or the order itself, (B, S).
            estimates: (B, S, N) where separation was done before.
        """
        if estimates is None:
            estimates = self.separator(mixture, lengths)
        speakers = estimates.shape[1]
        each = lengths.repeat_interleave(speakers) if lengths.dim() == 1 else lengths.flatten()
        encoded, frames = self.trainable_recognizer.encode(estimates.flatten(0, 1), each)
        encoded, frames = encoded.unflatten(0, (-1, speakers)), frames.unflatten(0, (-1, speakers))
        if isinstance(order, str):
            with torch.no_grad():
                order = self._order_by_ctc(encoded, frames, targets, target_lengths)
        rows = torch.arange(len(encoded), device=encoded.device)[:, None]
        matched, matched_frames = encoded[rows, order].flatten(0, 1), frames[rows, order].flatten()
        loss = self.trainable_recognizer.loss(matched, matched_frames, targets.flatten(0, 1), target_lengths.flatten())
        return JointResult(estimates, order, matched, matched_frames, loss)

    def _order_by_ctc(self, encoded: Tensor, frames: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
        """For each example the order (S,) of estimates, one for each reference, of least summed CTC loss."""
        speakers = encoded.shape[1]
        pairs = [(estimate, reference) for estimate in range(speakers) for reference in range(speakers)]
        left, right = (list(index) for index in zip(*pairs, strict=True))
        losses = self.trainable_recognizer.ctc_loss(
            encoded[:, left].flatten(0, 1),
            frames[:, left].flatten(),
            targets[:, right].flatten(0, 1),
            target_lengths[:, right].flatten(),
        )
        table = losses.view(-1, speakers, speakers)
        orders = torch.tensor(list(permutations(range(speakers))), device=encoded.device)
        sums = torch.stack([table[:, order, range(speakers)].sum(1) for order in orders], dim=1)
        return orders[sums.argmin(1)]

    @torch.inference_mode()
    def transcribe(
        self,
        mixture: Tensor,
        lengths: Tensor | None = None,
        decoding: DecodingConfig | None = None,
        language_model: LanguageModel | None = None,
        word_times: bool = False,
    ) -> tuple[list[list[Hypothesis]], Tensor]:
        """Who said what in mixtures of shape (B, M, N), with `word_times` also when each word was said.

        Returns:
            For each example one hypothesis a speaker, and the estimates, (B, S, N).
        """
        if lengths is None:
            lengths = torch.full((len(mixture),), mixture.shape[-1], device=mixture.device)
        estimates = self.separator(mixture, lengths)
        speakers = estimates.shape[1]
        found = self.recognizer.transcribe(
            estimates.flatten(0, 1),
            lengths.repeat_interleave(speakers),
            decoding or DecodingConfig(),
            language_model,
            word_times,
        )
        return [found[start : start + speakers] for start in range(0, len(found), speakers)], estimates
