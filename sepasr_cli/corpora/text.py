"""Named rules that bring a corpus's transcripts to the words that are learnt and scored.

| rule | what it does |
|---|---|
| none | leaves all but surrounding and repeated white space |
| upper | upper case; keeps A-Z, digits and apostrophes; accents are taken off; the rest becomes a space |
| basic | lower case in any script; keeps letters, digits and apostrophes within words; the rest becomes a space |
| an4 | drops `<s>`, `</s>`, `<sil>` and `++fillers++`, then upper |
| wsj | drops the noise marks, pauses and word marks of WSJ's detailed transcripts, then upper |
| wsj_kaldi | upper case; drops noise marks and pauses, and keeps all else as Kaldi's and ESPnet's recipes for WSJ do |

Punctuation that WSJ's speakers said aloud stays the word it was: `,COMMA` gives COMMA, by wsj_kaldi `,COMMA` as before.
Where those recipes have a token for noise, which no score counts, wsj_kaldi has nothing.
"""

import re
import unicodedata
from collections.abc import Callable
from typing import Literal

TextRule = Literal["none", "upper", "basic", "an4", "wsj", "wsj_kaldi"]


def normalise(text: str, rule: TextRule) -> str:
    """Apply a rule.

    >>> normalise("Well,  it's naïve -- twenty-two!", "upper")
    "WELL IT'S NAIVE TWENTY TWO"
    >>> normalise("«Señor» Ortega\\u2019s 3 dogs...", "basic")
    "señor ortega's 3 dogs"
    >>> normalise("<s> ENTER SIX <sil> TWO ++BREATH++ </s>", "an4")
    'ENTER SIX TWO'
    >>> normalise("[loud_breath] <The> pur:chase of *Holiday's* ,COMMA Mr. Smith . [<tap] ~", "wsj")
    "THE PURCHASE OF HOLIDAY'S COMMA MR SMITH"
    >>> normalise("[tap] <And> I\\\\.B\\\\.M\\\\. --DASH [door/] fell ,COMMA three .POINT two . ~", "wsj_kaldi")
    'AND I.B.M. -DASH FELL ,COMMA THREE POINT TWO'
    """
    return _RULES[rule](text)


def _collapse(text: str) -> str:
    return " ".join(text.split())


def _straight(text: str) -> str:
    return text.replace("\u2019", "'").replace("\u02bc", "'")


def _upper(text: str) -> str:
    bare = unicodedata.normalize("NFKD", _straight(text)).upper()
    bare = "".join(character for character in bare if not unicodedata.combining(character))
    return _collapse(re.sub(r"[^A-Z0-9']", " ", bare))


def _basic(text: str) -> str:
    lowered = unicodedata.normalize("NFKC", _straight(text)).lower()
    # Marks (category M) belong to the letters of many scripts.
    kept = "".join(letter if letter == "'" or unicodedata.category(letter)[0] in "LMN" else " " for letter in lowered)
    return _collapse(re.sub(r"(?<!\w)'+|'+(?!\w)", " ", kept))


def _an4(text: str) -> str:
    return _upper(re.sub(r"<[^>\s]*>|\+\+[^+\s]*\+\+", " ", text))


def _wsj(text: str) -> str:
    words = re.sub(r"\[[^\]\s]*\]", " ", text.replace("\\", "")).split()
    # Within a word ':' marks a lengthened sound, '!' stress, '*' a slip, '~' a cut, '<>' a word hardly heard.
    marks = str.maketrans("", "", ":!*~<>")
    return _upper(" ".join("SINGLE-QUOTE" if word == "'SINGLE-QUOTE" else word.translate(marks) for word in words))


def _wsj_kaldi(text: str) -> str:
    # As egs/wsj/s5/local/normalize_transcript.pl of Kaldi tells them.
    spelled = {"%PERCENT": "PERCENT", ".POINT": "POINT", "--DASH": "-DASH", "~": "", ".": ""}
    words = []
    for word in text.upper().replace("\\", "").split():
        if re.search(r"\[[^\]\s]*\]", word):
            continue
        match = re.fullmatch(r"<([\w']+)>", word)
        words.append(match[1] if match else spelled.get(word, word))
    return _collapse(" ".join(words))


_RULES: dict[TextRule, Callable[[str], str]] = {
    "none": _collapse,
    "upper": _upper,
    "basic": _basic,
    "an4": _an4,
    "wsj": _wsj,
    "wsj_kaldi": _wsj_kaldi,
}
