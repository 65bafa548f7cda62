"""LibriCSS (Chen et al. 2020; arXiv 2001.11482): LibriSpeech played in a meeting room, 7 microphones, ten minutes each.

<path>/<condition>/<session>/clean/ ...
<path>/<condition>/<session>/record/raw_recording.wav
<path>/<condition>/<session>/transcription/meeting_info.txt    start, end, speaker, utterance, words; tabs between

where <path> is the folder for_release. Microphone 0 is in the centre of the others' circle. For evaluation alone: each
utterance is a source, and there are no references.
"""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from sepasr_cli.corpora.corpus import lines
from sepasr_cli.corpora.text import TextRule, normalise
from sepasr_cli.datasets.dataset import Dataset, Found, FoundSource, Problems, admit, folder
from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import Mixture, Reference, Split

Condition = Literal["0S", "0L", "OV10", "OV20", "OV30", "OV40"]


class LibriCSS(Dataset):
    """LibriCSS; a session is a mixture. By custom session 0 is for development."""

    kind: Literal["libricss"] = "libricss"
    conditions: tuple[Condition, ...] = Field(("0S", "0L", "OV10", "OV20", "OV30", "OV40"), min_length=1)
    sessions: dict[Split, tuple[int, ...]] = Field(
        {"dev": (0,), "test": tuple(range(1, 10))}, description="which of the ten sessions a split has"
    )
    text: TextRule = "upper"

    @property
    def microphones(self) -> int:
        """Channels of every mixture."""
        return 7

    @property
    def references(self) -> tuple[Reference, ...]:
        """There are none."""
        return ()


def read(config: LibriCSS, split: Split, sample_rate: int, skip_bad: bool) -> list[Mixture]:
    """The sessions of a split, by condition and number; none where the split has none.

    Raises:
        SepasrError: for a condition that is not there, a broken table, and for every mismatch of the files.
    """
    wanted = config.sessions.get(split, ())
    if not wanted:
        return []
    problems = Problems()
    found = []
    for condition in config.conditions:
        place = folder(config.path / condition, config.kind, "the folder for_release with the conditions in it")
        sessions = {int(match[1]): path for path in place.iterdir() if (match := re.search(r"session(\d+)", path.name))}
        for number in wanted:
            if number not in sessions:
                problems.add("sessions that are not there", f"session {number} of {place}")
                continue
            table = sessions[number] / "transcription" / "meeting_info.txt"
            audio = sessions[number] / "record" / "raw_recording.wav"
            found.append(Found(f"{condition}_session{number}", audio, _utterances(table, config.text)))
    return admit(
        found, config, split, split, sample_rate=sample_rate, with_text=True, skip_bad=skip_bad, problems=problems
    )


def _utterances(table: Path, rule: TextRule) -> tuple[FoundSource, ...]:
    found = []
    for number, line in lines(table):
        parts = line.split("\t")
        if number == 1 and parts[0].startswith("start"):
            continue
        try:
            start, end, speaker, utterance, words = parts
            found.append(FoundSource(utterance, speaker, {}, normalise(words, rule), float(start), float(end)))
        except ValueError:
            raise SepasrError(
                f"{table}:{number}: found '{line[:60]}', expected start, end, speaker, utterance and words"
            ) from None
    if not found:
        raise SepasrError(f"{table}: tells no utterance; copy it again")
    return tuple(found)
