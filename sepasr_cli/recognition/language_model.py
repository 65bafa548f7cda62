"""A Transformer language model over the recogniser's tokens, for shallow fusion in the beam search.

Letters: B batch, K hypothesis, U token, D feature, V vocabulary.
"""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from sepasr_cli.errors import SepasrError
from sepasr_cli.onednn import Linear, Packed
from sepasr_cli.recognition.tokens import Vocabulary
from sepasr_cli.recognition.transformer_decoder import (
    TransformerConfig,
    TransformerStack,
    TransformerState,
    log_softmax,
    teacher_forcing,
)
from sepasr_cli.saved_model import SavedModel


class LanguageModelConfig(TransformerConfig):
    """Sizes of the language model; the defaults are those of ESPnet's character models."""

    blocks: int = Field(16, gt=0)
    size: int = Field(512, gt=0)
    heads: int = Field(8, gt=0)
    embedding: int = Field(128, gt=0)
    positions: Literal["sinusoidal", "none"] = "none"
    vocabulary: Vocabulary | None = Field(None, description="the recogniser's; None: filled in when it is trained")


class LanguageModel(SavedModel[LanguageModelConfig]):
    """Predicts each token of a sentence from those before it.

    Raises:
        SepasrError: where the configuration holds no vocabulary.
    """

    kind: ClassVar[str] = "language_model"
    usage: ClassVar[str] = "transcribe INPUT --model MODEL --language-model FOLDER"
    Config: ClassVar = LanguageModelConfig

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__(config)
        if config.vocabulary is None:
            raise SepasrError("the language model has no vocabulary; give it the one of its recogniser")
        self.vocabulary = config.vocabulary
        count = len(self.vocabulary.tokens)
        self.embedding = nn.Embedding(count, config.embedding)
        self.enlarge = nn.Sequential(
            Linear(config.embedding, config.size),
            nn.LayerNorm(config.size),
            nn.Dropout(config.dropout),
            nn.ReLU(),
        )
        self.stack = TransformerStack(config, cross=False)
        self.out = Linear(config.size, count)
        self.packed_out = Packed(self.out)

    def logits(self, tokens: Tensor) -> Tensor:
        """Tokens (B, U), the first one the boundary -> logits (B, U, V) of the tokens after them."""
        return self.out(self.stack(self.enlarge(self.embedding(tokens)), self.start()))

    def forward(self, targets: Tensor, target_lengths: Tensor) -> Tensor:
        """Negative log-likelihood (B,), in nats, of whole sentences (B, U), their end included."""
        before, after = teacher_forcing(targets, target_lengths, self.vocabulary.boundary_id)
        return functional.cross_entropy(
            self.logits(before).float().transpose(1, 2), after, ignore_index=-1, reduction="none"
        ).sum(1)

    def start(self) -> TransformerState:
        """The state before the first token."""
        return self.stack.start()

    def step(self, tokens: Tensor, state: TransformerState) -> Tensor:
        """One more token of each hypothesis, (B, K) -> log probabilities (B, K, V) of the next one."""
        return log_softmax(self.packed_out(self.stack.step(self.enlarge(self.embedding(tokens)), state)))
