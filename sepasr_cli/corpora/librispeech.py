"""LibriSpeech in its own layout.

<path>/<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac
<path>/<subset>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt       103-1240-0000 CHAPTER ONE MISSUS RACHEL
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from sepasr_cli.corpora.corpus import Checks, Corpus, Entry, admit, folder, lines
from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import Utterance


class LibriSpeech(Corpus):
    """LibriSpeech, or a corpus in its layout; audio may be WAV too."""

    kind: Literal["librispeech"] = "librispeech"
    subsets: tuple[str, ...] = ()


def read(config: LibriSpeech, checks: Checks | None = None) -> list[Utterance]:
    """The utterances of the subsets (all below `path` where none is named), ordered by path."""
    root = folder(config.path, "librispeech", *config.subsets)
    roots = [root / subset for subset in config.subsets] or [root]
    return admit((entry for part in roots for entry in _entries(part)), config, checks)


def _entries(root: Path) -> Iterator[Entry]:
    texts: dict[Path, dict[str, str]] = {}
    for audio in sorted(path for path in root.rglob("*") if path.suffix.lower() in (".flac", ".wav")):
        match = re.fullmatch(r"(\d+)-(\d+)-\d+", audio.stem)
        if match is None:
            continue
        table = audio.with_name(f"{match[1]}-{match[2]}.trans.txt")
        if table not in texts:
            texts[table] = _table(table) if table.is_file() else {}
        yield Entry(audio.stem, audio, match[1], texts[table].get(audio.stem), str(audio))


def _table(path: Path) -> dict[str, str]:
    return {parts[0]: parts[2] for parts in (line.partition(" ") for _, line in lines(path))}


def transcripts(root: Path) -> dict[str, str]:
    """What is said in each utterance below a folder, by its id.

    Raises:
        SepasrError: where the folder is missing or holds no transcripts.
    """
    folder(root, "librispeech")
    texts = {name: text for path in sorted(root.rglob("*.trans.txt")) for name, text in _table(path).items()}
    if not texts:
        raise SepasrError(f"{root}: holds no transcripts; expected files ending in .trans.txt below it")
    return texts
