"""CMU AN4 in its own layout.

<path>/etc/<name>.fileids          a path below wav/ a line, without ending: an4_clstk/fash/an251-fash-b
<path>/etc/<name>.transcription    <s> YES </s> (an251-fash-b)
<path>/wav/an4_clstk/<speaker>/<id>.sph   NIST SPHERE, or .wav, .flac
"""

import re
from pathlib import Path
from typing import Literal

from sepasr_cli.corpora.corpus import Checks, Corpus, Entry, admit, folder, lines
from sepasr_cli.corpora.text import TextRule
from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import Utterance

#: Endings in the order they are looked for.
ENDINGS = (".sph", ".wav", ".flac")


class AN4(Corpus):
    """CMU AN4; `split` names one of its lists, all of them where None."""

    kind: Literal["an4"] = "an4"
    split: str | None = None
    text: TextRule = "an4"


def read(config: AN4, checks: Checks | None = None) -> list[Utterance]:
    """The utterances of AN4 in the order of its lists; the speaker is the folder's name."""
    root = folder(config.path, "an4", "etc", "wav")
    lists = sorted((root / "etc").glob("*.fileids"))
    names = [path.stem for path in lists]
    if config.split is not None:
        lists = [path for path in lists if path.stem in (config.split, f"an4_{config.split}")]
    if not lists:
        raise SepasrError(
            f"corpus an4: {root / 'etc'}: no list for split '{config.split}'; found {', '.join(names) or 'none'}"
        )
    return admit((entry for path in lists for entry in _entries(root, path)), config, checks)


def _entries(root: Path, fileids: Path) -> list[Entry]:
    transcription = fileids.with_suffix(".transcription")
    texts: dict[str, str] = {}
    if transcription.is_file():
        for number, line in lines(transcription):
            match = re.fullmatch(r"(.*)\(\s*(\S+?)\s*\)", line)
            if match is None:
                raise SepasrError(
                    f"{transcription}:{number}: found '{line[:60]}', expected words and then the id in brackets"
                )
            texts[match[2]] = match[1]
    entries = []
    for number, line in lines(fileids):
        stem = root / "wav" / line
        paths = [stem.with_name(stem.name + ending) for ending in ENDINGS]
        audio = next((path for path in paths if path.is_file()), paths[0])
        entries.append(Entry(stem.name, audio, stem.parent.name, texts.get(stem.name), f"{fileids}:{number}"))
    return entries
