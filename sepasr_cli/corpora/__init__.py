"""Where utterances come from: one reader for each layout, all yielding `Utterance`."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sepasr_cli import audio
from sepasr_cli.corpora import an4, espeak, folder, kaldi, librispeech, table, wsj0
from sepasr_cli.corpora.an4 import AN4
from sepasr_cli.corpora.corpus import Checks, Corpus
from sepasr_cli.corpora.espeak import Espeak
from sepasr_cli.corpora.folder import Folder
from sepasr_cli.corpora.kaldi import Kaldi
from sepasr_cli.corpora.librispeech import LibriSpeech
from sepasr_cli.corpora.table import Table
from sepasr_cli.corpora.wsj0 import WSJ0
from sepasr_cli.manifest import Utterance

CorpusConfig = Annotated[
    AN4 | LibriSpeech | Kaldi | WSJ0 | Table | Folder | Espeak,
    Field(discriminator="kind"),
]

_READERS: dict[str, Callable[[Any, Checks], list[Utterance]]] = {
    "an4": an4.read,
    "librispeech": librispeech.read,
    "kaldi": kaldi.read,
    "wsj0": wsj0.read,
    "table": table.read,
    "folder": folder.read,
    "espeak": espeak.read,
}


def read_corpora(configs: Sequence[CorpusConfig], skip_bad: bool, sample_rate: int) -> list[Utterance]:
    """The utterances of several corpora, one after the other, for a run at `sample_rate` Hz.

    With `skip_bad`, utterances with something wrong are left out and counted: one warning a reason.

    Raises:
        SepasrError: for the first utterance with something wrong (see `corpus.admit`), or an id that two corpora share.
    """
    checks = Checks(sample_rate, skip_bad)
    found: dict[str, tuple[Utterance, Corpus]] = {}
    for config in configs:
        for utterance in _READERS[config.kind](config, checks):
            if utterance.id in found:
                first, other = found[utterance.id]
                checks.problem(
                    "id of another corpus",
                    f"corpora {other.path} and {config.path}: both have an utterance '{utterance.id}' "
                    f"({first.audio}, {utterance.audio}); set prefix for one of them, or choose other speakers",
                )
                continue
            found[utterance.id] = (utterance, config)
    checks.report()
    return [utterance for utterance, _ in found.values()]


def read_speech(utterance: Utterance, sample_rate: int) -> NDArray[np.float32]:
    """The samples (N,) of an utterance at `sample_rate` Hz: its part of the file, the first channel.

    Raises:
        SepasrError: where the audio is missing or damaged.
    """
    samples, rate = audio.read(utterance.audio, utterance.start, utterance.end)
    return audio.resample(samples[0], rate, sample_rate)


__all__ = [
    "AN4",
    "WSJ0",
    "CorpusConfig",
    "Espeak",
    "Folder",
    "Kaldi",
    "LibriSpeech",
    "Table",
    "read_corpora",
    "read_speech",
]
