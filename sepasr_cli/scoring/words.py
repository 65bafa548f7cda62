"""Word and character error rates of several speakers. Letter: S speaker.

Speakers of the hypothesis carry no names that mean anything, so the assignment with the fewest word errors counts.
This is the concatenated minimum-permutation word error rate, cpWER (https://arxiv.org/abs/2004.09249, section 4).
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

import jiwer
import numpy as np
from scipy.optimize import linear_sum_assignment

from sepasr_cli.errors import SepasrError

#: `none`: only blanks are made one. `basic`: lower case as well, and no punctuation but the apostrophe within a word.
Normalisation = Literal["none", "basic"]


@dataclass(frozen=True)
class ErrorRate:
    """Errors against a reference of `length` words or characters.

    >>> sum([ErrorRate(1, 0, 0, 10), ErrorRate(0, 1, 2, 10)])
    ErrorRate(substitutions=1, deletions=1, insertions=2, length=20)
    """

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    length: int = 0

    @property
    def errors(self) -> int:
        """All errors together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float | None:
        """Errors for each word of the reference; None where the reference is empty."""
        return self.errors / self.length if self.length else None

    def __add__(self, other: "ErrorRate") -> "ErrorRate":
        return ErrorRate(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def __radd__(self, other: int) -> "ErrorRate":
        """Lets `sum` begin with 0."""
        return self


@dataclass(frozen=True)
class WordScore:
    """Errors in words and characters under one assignment of speakers, over `recordings`."""

    words: ErrorRate = ErrorRate()
    characters: ErrorRate = ErrorRate()
    recordings: int = 0

    def __add__(self, other: "WordScore") -> "WordScore":
        return WordScore(
            self.words + other.words, self.characters + other.characters, self.recordings + other.recordings
        )

    def __radd__(self, other: int) -> "WordScore":
        """Lets `sum` begin with 0."""
        return self


def normalise(text: str, rule: Normalisation) -> str:
    """Apply one named rule; both sides of a comparison get the same.

    >>> normalise("It's  DR. Who's", "basic")
    "it's dr who's"
    >>> normalise(" It's  DR. ", "none")
    "It's DR."

    Raises:
        SepasrError: where the rule is unknown.
    """
    if rule not in get_args(Normalisation):
        raise SepasrError(
            f"text normalisation '{rule}' is unknown; expected one of {', '.join(get_args(Normalisation))}"
        )
    if rule == "basic":
        text = unicodedata.normalize("NFKC", text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").lower()
        text = "".join(letter if letter == "'" or _spoken(letter) else " " for letter in text)
        text = " ".join(word.strip("'") for word in text.split())
    return " ".join(text.split())


def _spoken(letter: str) -> bool:
    """Letters, marks that belong to them, and numbers."""
    return unicodedata.category(letter)[0] in "LMN"


def word_errors(reference: str, hypothesis: str) -> ErrorRate:
    """Errors in words, by jiwer. An empty reference makes every word of the hypothesis an insertion.

    >>> word_errors("a b c", "a x")
    ErrorRate(substitutions=1, deletions=1, insertions=0, length=3)
    """
    found = jiwer.process_words(reference, hypothesis)
    return ErrorRate(found.substitutions, found.deletions, found.insertions, len(reference.split()))


def character_errors(reference: str, hypothesis: str) -> ErrorRate:
    """Errors in characters, blanks counted, by jiwer."""
    found = jiwer.process_characters(reference, hypothesis)
    return ErrorRate(found.substitutions, found.deletions, found.insertions, len(reference))


def score_words(
    references: Sequence[str], hypotheses: Sequence[str], rule: Normalisation = "none"
) -> tuple[WordScore, tuple[int | None, ...]]:
    """Compare the texts of several speakers under the assignment with the fewest word errors.

    Args:
        references: one text a speaker, S of them.
        hypotheses: one text a speaker, in any order and any number; what is too many counts as insertions.
        rule: the normalisation of both sides.

    Returns:
        The errors of all speakers together, and for every reference the index of its hypothesis, None where none was
        left for it.
    """
    wanted = [normalise(text, rule) for text in references]
    given = [normalise(text, rule) for text in hypotheses]
    size = max(len(wanted), len(given))
    wanted += [""] * (size - len(wanted))
    given += [""] * (size - len(given))
    pairs = [[word_errors(reference, hypothesis) for hypothesis in given] for reference in wanted]
    cost = np.array([[pair.errors for pair in row] for row in pairs]).reshape(size, size)
    _, order = linear_sum_assignment(cost)
    words = sum((pairs[row][column] for row, column in enumerate(order)), ErrorRate())
    characters = sum((character_errors(wanted[row], given[column]) for row, column in enumerate(order)), ErrorRate())
    assignment = tuple(int(column) if column < len(hypotheses) else None for column in order[: len(references)])
    return WordScore(words, characters, 1), assignment
