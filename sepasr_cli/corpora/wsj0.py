"""WSJ0 (LDC93S6A), from the discs or converted.

    [<disc>/][wsj0/]si_tr_s/01t/01to030v.wav      or .flac, or .wv1 (NIST SPHERE, first microphone)
    anywhere below <path>: 01to0300.dot, .lsn, .ptx, one transcript a line with its utterance in brackets:
        The sale of the hotels is part of Holiday's strategy (01to030v)

Of the three, .dot (what was really said, with noise marks) is preferred to .lsn (the same, plain), and that to .ptx
(the prompt). Shorten-compressed SPHERE, as on the discs, is refused; sph2pipe converts it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from sepasr_cli.corpora.corpus import Checks, Corpus, Entry, admit, folder, lines
from sepasr_cli.corpora.text import TextRule
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import inside
from sepasr_cli.manifest import Utterance

#: Endings in the order of preference.
AUDIO = (".wav", ".flac", ".wv1")
TRANSCRIPTS = (".dot", ".lsn", ".ptx")


class WSJ0(Corpus):
    """WSJ0; `subsets` are folders such as si_tr_s (wsj0-2mix: train, dev) and si_dt_05, si_et_05 (test)."""

    kind: Literal["wsj0"] = "wsj0"
    subsets: tuple[str, ...] = Field(("si_tr_s",), min_length=1)
    text: TextRule = "wsj"


def read(config: WSJ0, checks: Checks | None = None) -> list[Utterance]:
    """The utterances of the subsets, ordered by path; the speaker is the folder's name."""
    root = folder(config.path, "wsj0")
    parts: list[Path] = []
    for subset in config.subsets:
        found = [path for pattern in (subset, f"*/{subset}", f"*/*/{subset}") for path in sorted(root.glob(pattern))]
        if not found:
            raise SepasrError(
                f"corpus wsj0: {root}: holds no folder {subset}, nor does wsj0/ below it; check path and subsets"
            )
        parts += found
    texts = _texts(root)
    return admit((entry for part in parts for entry in _entries(part, texts)), config, checks)


def _entries(part: Path, texts: dict[str, str]) -> Iterator[Entry]:
    by_stem: dict[Path, Path] = {}
    for ending in reversed(AUDIO):
        by_stem.update({path.with_suffix(""): path for path in part.rglob(f"*{ending}")})
    for stem, audio in sorted(by_stem.items()):
        yield Entry(stem.name, audio, stem.parent.name, texts.get(stem.name.lower()), str(audio))


def audio_file(root: Path, name: str) -> Path:
    """The file of WSJ0 that a list of others names: `wsj0/si_tr_s/01t/01to030v.wav`, whatever its ending is here.

    Raises:
        SepasrError: where there is none, or the name leads out of `root`.
    """
    inside(root, name)
    names = [Path(name), *([Path(*Path(name).parts[1:])] if Path(name).parts[0] == "wsj0" else [])]
    for place in names:
        for ending in (Path(name).suffix, *AUDIO):
            if (found := (root / place).with_suffix(ending)).is_file():
                return found
    raise SepasrError(f"{root / name}: no such file, nor one ending in {', '.join(AUDIO)}; check the folder of WSJ0")


def transcripts(root: Path) -> dict[str, str]:
    """What is said in each utterance below a folder, by its id in lower case.

    Raises:
        SepasrError: where the folder is missing or holds no transcripts, or a line names no utterance.
    """
    texts = _texts(folder(root, "wsj0"))
    if not texts:
        raise SepasrError(f"{root}: holds no transcripts; expected files ending in {', '.join(TRANSCRIPTS)} below it")
    return texts


def _texts(root: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    # The preferred ones last: they replace the others.
    for ending in reversed(TRANSCRIPTS):
        for path in sorted(root.rglob(f"*{ending}")):
            for number, line in lines(path):
                match = re.fullmatch(r"(.*)\(\s*(\w+)[^()]*\)", line)
                if match is None:
                    raise SepasrError(
                        f"{path}:{number}: found '{line[:60]}', expected words and then the utterance in brackets"
                    )
                texts[match[2].lower()] = match[1]
    return texts
