"""Text to token ids and back: characters, or byte-pair encoding (BPE; Sennrich et al. 2016)."""

import json
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Literal

import tokenizers
from pydantic import Field, model_validator
from typing_extensions import Self

from sepasr_cli.errors import SepasrError
from sepasr_cli.files import write_text
from sepasr_cli.settings import Settings

BLANK, UNKNOWN, SPACE, BOUNDARY = "<blank>", "<unk>", "<space>", "<sos/eos>"
BLANK_ID, UNKNOWN_ID = 0, 1

#: Marks the beginning of a word inside BPE tokens.
WORD_START = "\u2581"

TokenKind = Literal["characters", "bpe"]


class Vocabulary(Settings):
    """A tokenizer as plain data: the tokens in the order of their ids, and for BPE the merges in their order.

    Id 0 is the blank of CTC, 1 stands for whatever is unknown, the last id both begins and ends a sentence.
    """

    kind: TokenKind
    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...] = ()
    case: Literal["keep", "upper", "lower"] = Field("keep", description="what text is made before it becomes tokens")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.tokens) < 4 or self.tokens[:2] != (BLANK, UNKNOWN) or self.tokens[-1] != BOUNDARY:
            raise ValueError(f"expected {BLANK}, {UNKNOWN}, at least one more token, and {BOUNDARY}, in this order")
        if len(set(self.tokens)) != len(self.tokens):
            raise ValueError("a token stands twice in the vocabulary")
        if self.kind == "characters" and (
            self.merges or any(len(t) != 1 and t not in self._marks for t in self.tokens)
        ):
            raise ValueError("a vocabulary of characters holds single characters, marks as <noise>, and no merges")
        return self

    @classmethod
    def train(cls, texts: Iterable[str], kind: TokenKind, size: int | None = None) -> "Vocabulary":
        """Make a vocabulary from transcripts.

        Args:
            texts: the transcripts; runs of white space count as one space.
            kind: characters, or BPE.
            size: for BPE the number of tokens wanted, special ones included; fewer where the text gives no more.

        Raises:
            SepasrError: where there is no text, or `size` has no room for the characters found.

        >>> Vocabulary.train(["a cab"], "characters").tokens
        ('<blank>', '<unk>', '<space>', 'a', 'b', 'c', '<sos/eos>')
        """
        lines = [line for line in map(_tidy, texts) if line]
        if not lines:
            raise SepasrError("the training text is empty; expected transcripts to make tokens from; check the corpus")
        characters = sorted(set("".join(lines)) - {" "})
        if kind == "characters":
            space = [SPACE] if any(" " in line for line in lines) else []
            return cls(kind=kind, tokens=(BLANK, UNKNOWN, *space, *characters, BOUNDARY))
        least = len(characters) + 4  # and blank, unknown, the word start, and the boundary
        if size is None or size < least:
            raise SepasrError(f"{size} BPE tokens were asked for, the text needs at least {least}; raise bpe_size")
        tokenizer = _bpe_tokenizer(tokenizers.models.BPE(unk_token=UNKNOWN))
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=size - 1, special_tokens=[BLANK, UNKNOWN], initial_alphabet=[WORD_START], show_progress=False
        )
        tokenizer.train_from_iterator(lines, trainer)
        ids = tokenizer.get_vocab()
        return cls(kind=kind, tokens=(*sorted(ids, key=ids.__getitem__), BOUNDARY), merges=_merges(tokenizer))

    @property
    def boundary_id(self) -> int:
        """The id that begins and ends a sentence: the last one."""
        return len(self.tokens) - 1

    @cached_property
    def _marks(self) -> list[str]:
        """Tokens such as <space> and <noise>, which stand for no character."""
        return [token for token in self.tokens if re.fullmatch(r"<[^<>\s]+>", token)]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """One token of a text: a mark, or a character."""
        written = [mark for mark in self._marks if mark not in (BLANK, UNKNOWN, SPACE, BOUNDARY)]
        return re.compile("|".join([*map(re.escape, written), "."]), re.DOTALL)

    @cached_property
    def _ids(self) -> dict[str, int]:
        ids = {token: number for number, token in enumerate(self.tokens)}
        if SPACE in ids:
            ids[" "] = ids[SPACE]
        return ids

    @cached_property
    def _tokenizer(self) -> tokenizers.Tokenizer:
        vocabulary = {token: number for number, token in enumerate(self.tokens)}
        return _bpe_tokenizer(tokenizers.models.BPE(vocabulary, list(self.merges), unk_token=UNKNOWN))

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without blank and boundaries; what the vocabulary lacks becomes id 1.

        >>> Vocabulary.train(["a cab"], "characters").encode("a bad")
        [3, 2, 4, 3, 1]
        """
        text = _tidy(text)
        text = text if self.case == "keep" else getattr(text, self.case)()
        if self.kind == "characters":
            return [self._ids.get(token, UNKNOWN_ID) for token in self._pattern.findall(text)]
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; blanks and boundaries are left out.

        >>> Vocabulary.train(["a cab"], "characters").decode([3, 2, 4, 3, 6])
        'a ba'
        """
        tokens = [self.tokens[number] for number in ids if number not in (BLANK_ID, self.boundary_id)]
        if self.kind == "characters":
            text = "".join(" " if token == SPACE else token for token in tokens)
        else:
            text = "".join(tokens).replace(WORD_START, " ")
        return _tidy(text)

    def words(self, ids: Iterable[int]) -> list[list[int]]:
        """For each word that `decode` makes of ids, where its tokens stand among them.

        >>> Vocabulary.train(["a cab"], "characters").words([3, 2, 4, 3, 6])
        [[0], [2, 3]]
        """
        found: list[list[int]] = []
        inside = False
        for place, number in enumerate(ids):
            token = self.tokens[number]
            if number in (BLANK_ID, self.boundary_id):
                continue
            inside = inside and not token.startswith(SPACE if self.kind == "characters" else WORD_START)
            if token not in (SPACE, WORD_START):
                found.extend([] if inside else [[]])
                found[-1].append(place)
                inside = True
        return found

    def save_text(self, path: Path) -> None:
        """Write the tokens one a line, in the order of their ids."""
        write_text(path, "\n".join(self.tokens) + "\n")


def _tidy(text: str) -> str:
    return " ".join(text.split())


def _bpe_tokenizer(model: tokenizers.models.BPE) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(replacement=WORD_START, prepend_scheme="always")
    return tokenizer


def _merges(tokenizer: tokenizers.Tokenizer) -> tuple[tuple[str, str], ...]:
    """The merges a trained tokenizer holds: they are found in its JSON alone."""
    return tuple((first, second) for first, second in json.loads(tokenizer.to_str())["model"]["merges"])
