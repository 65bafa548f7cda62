"""Each rule does what it says, and the one of Whisper what OpenAI's does."""

from importlib import resources
from pathlib import Path

import pytest

from sepasr_cli.errors import SepasrError
from sepasr_cli.scoring import normalisation
from sepasr_cli.scoring.normalisation import normalise


def test_basic_keeps_words_and_apostrophes_within_them() -> None:
    assert normalise("don\u2019t 'quote' \ufb01ne e\u0301", "basic") == "don't quote fine \u00e9"
    assert normalise("\u0414\u0430, 42!", "basic") == "\u0434\u0430 42"


def test_none_joins_blanks_alone() -> None:
    assert normalise(" It's\t DR. ", "none") == "It's DR."


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Mr. Brown's won't, um, go [laughs]", "mister brown is will not go"),
        ("The neighbour's grey colour", "the neighbor is gray color"),
        ("twenty two dollars and fifty cents", "$22.50"),
        ("It's one hundred per cent", "it is 100%"),
    ],
)
def test_whisper_does_what_openais_does(text: str, wanted: str) -> None:
    assert normalise(text, "whisper") == wanted


def test_an_unknown_rule_is_an_error() -> None:
    with pytest.raises(SepasrError, match="'loud' is unknown; expected one of none, basic, whisper"):
        normalise("a", "loud")  # type: ignore[arg-type]


def test_the_table_of_spellings_is_never_left_out_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "files", lambda name: tmp_path)
    normalisation._whisper.cache_clear()
    with pytest.raises(SepasrError, match="needs the package whisper-normalizer"):
        normalise("a", "whisper")
    normalisation._whisper.cache_clear()
