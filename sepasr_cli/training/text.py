"""Batches of sentences for the language model; as in `data`, the seed and a batch's number decide what it holds.

Letters: B batch, U token.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sepasr_cli.corpora.text import TextRule, normalise
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import read_text
from sepasr_cli.progress import warn
from sepasr_cli.recognition.tokens import UNKNOWN_ID, Vocabulary
from sepasr_cli.training.data import PADDING, Movable, Schedule, by_length

#: Share of tokens unknown to the vocabulary above which a text is warned of, and that above which it is refused.
WARNED, REFUSED = 0.01, 0.2


@dataclass(frozen=True)
class TextBatch(Movable):
    """Sentences: targets (B, U), padded with -1, and target_lengths (B,)."""

    ids: list[str]
    targets: Tensor
    target_lengths: Tensor


def read_lines(path: Path, rule: TextRule) -> list[str]:
    """The lines of a text file, brought to the form of transcripts by a rule, that hold anything.

    Raises:
        SepasrError: where the file is missing, no UTF-8 text, or empty.
    """
    text = read_text(path, "check pretrain_lm.text and pretrain_lm.dev_text")
    found = [line for line in (normalise(line, rule) for line in text.splitlines()) if line]
    if not found:
        raise SepasrError(f"{path}: holds no text; expected a sentence a line")
    return found


class Sentences:
    """Batches of tokenised sentences."""

    def __init__(
        self,
        sources: Iterable[tuple[str, Sequence[str]]],
        vocabulary: Vocabulary,
        batch_size: int,
        seed: int,
        max_tokens: int,
    ) -> None:
        """
        Args:
            sources: names, for messages, with the texts that each gives.
            vocabulary: makes the texts tokens.
            batch_size: sentences in a batch.
            seed: of their order.
            max_tokens: sentences that are longer are cut into parts.

        Raises:
            SepasrError: where the vocabulary does not know a good part of a source.
        """
        self.tokens: list[list[int]] = []
        self.names: list[str] = []
        for name, texts in sources:
            known = [vocabulary.encode(text) for text in texts]
            _check_known(name, texts, known)
            for number, tokens in enumerate(known, 1):
                for start in range(0, len(tokens), max_tokens):
                    self.tokens.append(tokens[start : start + max_tokens])
                    self.names.append(f"{name}:{number}")
        self.schedule = Schedule([float(len(tokens)) for tokens in self.tokens], batch_size, seed)
        self.batch_size = batch_size

    def __call__(self, number: int) -> TextBatch:
        """Batch `number` of the training."""
        return self._collate(self.schedule(number)[1])

    def in_order(self) -> list[Callable[[], TextBatch]]:
        """Makers of batches of all sentences, those of like length together: for validation."""
        parts = by_length(range(len(self.tokens)), lambda index: len(self.tokens[index]), self.batch_size)
        return [partial(self._collate, part) for part in parts]

    def _collate(self, indices: Sequence[int]) -> TextBatch:
        rows = [torch.tensor(self.tokens[index]) for index in indices]
        return TextBatch(
            [self.names[index] for index in indices],
            pad_sequence(rows, batch_first=True, padding_value=PADDING),
            torch.tensor([len(row) for row in rows]),
        )


def _check_known(name: str, texts: Sequence[str], known: Sequence[list[int]]) -> None:
    unknown = sum(tokens.count(UNKNOWN_ID) for tokens in known)
    share = unknown / max(sum(map(len, known)), 1)
    if share <= WARNED:
        return
    where = next(number for number, tokens in enumerate(known) if UNKNOWN_ID in tokens)
    found = f"{name}: {100 * share:.0f} % of the tokens are unknown to the recogniser, first in '{texts[where][:40]}'"
    if share > REFUSED:
        raise SepasrError(f"{found}; expected text like its transcripts, see pretrain_lm.rule")
    warn(found)
