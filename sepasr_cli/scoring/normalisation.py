"""Named rules that make two texts comparable; both sides of a comparison get the same."""

import json
import unicodedata
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Literal, get_args

from sepasr_cli.errors import SepasrError

#: `none`: only blanks are made one. `basic`: lower case as well, and no punctuation but the apostrophe within a word.
#: `whisper`: that of Whisper's evaluation for English (https://arxiv.org/abs/2212.04356, appendix C).
Normalisation = Literal["none", "basic", "whisper"]


def normalise(text: str, rule: Normalisation) -> str:
    """Apply one named rule.

    >>> normalise("It's  DR. Who's", "basic")
    "it's dr who's"
    >>> normalise(" It's  DR. ", "none")
    "It's DR."

    Raises:
        SepasrError: where the rule is unknown, or needs a package that is not installed.
    """
    if rule not in get_args(Normalisation):
        raise SepasrError(
            f"text normalisation '{rule}' is unknown; expected one of {', '.join(get_args(Normalisation))}"
        )
    if rule == "basic":
        text = unicodedata.normalize("NFKC", text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").lower()
        text = "".join(letter if letter == "'" or _spoken(letter) else " " for letter in text)
        text = " ".join(word.strip("'") for word in text.split())
    elif rule == "whisper":
        text = _whisper()(text)
    return " ".join(text.split())


def _spoken(letter: str) -> bool:
    """Letters, marks that belong to them, and numbers."""
    return unicodedata.category(letter)[0] in "LMN"


@cache
def _whisper() -> Callable[[str], str]:
    """The rules of transformers with the table of British spellings of whisper-normalizer, as OpenAI's own has it."""
    try:
        from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

        spellings = resources.files("whisper_normalizer").joinpath("normalizers/english.json").read_text("utf-8")
    except (ImportError, FileNotFoundError):
        raise SepasrError(
            "text normalisation 'whisper' needs the package whisper-normalizer, for its table of British spellings; "
            "pip install whisper-normalizer, or choose basic"
        ) from None
    normaliser: Callable[[str], str] = EnglishTextNormalizer(json.loads(spellings))
    return normaliser
