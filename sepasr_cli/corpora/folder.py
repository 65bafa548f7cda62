"""A folder of audio, with the words of `name.wav` in `name.txt` beside it.

The speaker is the first folder below `path`, or the file's own name where it lies in `path` itself. The id is the
path below `path` without its ending, with `-` between its parts.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from sepasr_cli import audio
from sepasr_cli.corpora.corpus import Checks, Corpus, Entry, admit, folder, lines
from sepasr_cli.manifest import Utterance


class Folder(Corpus):
    """A folder of audio files, in folders of any depth."""

    kind: Literal["folder"] = "folder"


def read(config: Folder, checks: Checks | None = None) -> list[Utterance]:
    """The utterances ordered by path."""
    root = folder(config.path, "folder")
    return admit(_entries(root), config, checks)


def _entries(root: Path) -> Iterator[Entry]:
    for path in audio.find(root):
        parts = path.relative_to(root).with_suffix("").parts
        words = path.with_suffix(".txt")
        text = " ".join(line for _, line in lines(words)) if words.is_file() else None
        yield Entry("-".join(parts), path, parts[0], text, str(path))
