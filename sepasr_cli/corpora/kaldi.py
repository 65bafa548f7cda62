"""A Kaldi data directory.

wav.scp    <recording> <path>, relative to the directory or absolute; a command is refused, nothing is ever run
text       <utterance> <words>
utt2spk    <utterance> <speaker>
segments   <utterance> <recording> <start> <end>, seconds; without it a recording is an utterance
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from sepasr_cli.corpora.corpus import Checks, Corpus, Entry, admit, folder, lines
from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import Utterance


class Kaldi(Corpus):
    """A Kaldi data directory."""

    kind: Literal["kaldi"] = "kaldi"


def read(config: Kaldi, checks: Checks | None = None) -> list[Utterance]:
    """The utterances in the order of `segments`, or of `wav.scp`.

    Raises:
        SepasrError: also for a pipe or an archive in `wav.scp`.
    """
    root = folder(config.path, "kaldi", "wav.scp", "utt2spk")
    return admit(_entries(root, checks or Checks()), config, checks)


def _entries(root: Path, checks: Checks) -> Iterator[Entry]:
    recordings = {name: _audio(root, line, value) for name, (line, value) in _table(root / "wav.scp").items()}
    speakers = _table(root / "utt2spk")
    texts = _table(root / "text", may_lack_value=True) if (root / "text").is_file() else {}
    segments = _segments(root / "segments", recordings)
    for name, (origin, recording, start, end) in segments.items():
        if name not in speakers:
            checks.problem(
                "no speaker", f"{root / 'utt2spk'}: has no line for utterance '{name}' of {origin}; add its speaker"
            )
            continue
        text = texts[name][1] if name in texts else None
        yield Entry(name, recordings[recording], speakers[name][1], text, origin, start, end)


def _table(path: Path, may_lack_value: bool = False) -> dict[str, tuple[str, str]]:
    """What a file says of each name, with where it says so."""
    table: dict[str, tuple[str, str]] = {}
    for number, line in lines(path):
        parts = line.split(maxsplit=1)
        if len(parts) < 2 and not may_lack_value:
            raise SepasrError(f"{path}:{number}: found '{line[:60]}', expected a name and a value")
        if parts[0] in table:
            raise SepasrError(f"{path}:{number}: '{parts[0]}' is already on {table[parts[0]][0]}; names must be unique")
        table[parts[0]] = (f"{path}:{number}", parts[1] if len(parts) > 1 else "")
    return table


def _audio(root: Path, origin: str, value: str) -> Path:
    if "|" in value:
        raise SepasrError(
            f"{origin}: a command with a pipe, which is not run; write the audio to files and give their paths"
        )
    if re.search(r"\.ark:\d+$", value):
        raise SepasrError(f"{origin}: a place in a Kaldi archive; write the audio to files and give their paths")
    return root / value


def _segments(path: Path, recordings: dict[str, Path]) -> dict[str, tuple[str, str, float, float | None]]:
    """Of each utterance: where it is said, the recording, start and end."""
    if not path.is_file():
        return {name: (f"{path.parent / 'wav.scp'}, '{name}'", name, 0.0, None) for name in recordings}
    found: dict[str, tuple[str, str, float, float | None]] = {}
    for name, (origin, value) in _table(path).items():
        parts = value.split()
        try:
            recording, start, end = parts[0], float(parts[1]), float(parts[2])
            if not (math.isfinite(start) and math.isfinite(end)):
                raise ValueError(value)
        except (ValueError, IndexError):
            raise SepasrError(
                f"{origin}: found '{name} {value[:60]}', expected utterance, recording, start and end"
            ) from None
        if recording not in recordings:
            raise SepasrError(
                f"{origin}: recording '{recording}' is not in {path.with_name('wav.scp')}; add its audio there"
            )
        # Kaldi writes -1 for the end of the recording.
        found[name] = (origin, recording, start, None if end < 0 else end)
    return found
