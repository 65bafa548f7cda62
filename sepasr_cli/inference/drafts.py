"""Signals written as they come, to files that appear whole or not at all. Letters: S speaker, N sample."""

import contextlib
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from typing_extensions import Self

from sepasr_cli import audio
from sepasr_cli.audio import Audio
from sepasr_cli.errors import SepasrError

#: Highest peak of a published signal.
PEAK = 0.999


class Drafts:
    """Hidden float files in a folder, one a signal, from which audio files are made once all is known.

    How loud a recording's signals are is known at its end alone: then all are made quieter together where one would
    clip. As a context, it takes the hidden files away whatever happens.

    Args:
        folder: where the audio files will be.
        count: how many signals there are.
        sample_rate: of the signals.
    """

    def __init__(self, folder: Path, count: int, sample_rate: int) -> None:
        self.folder, self.count, self.sample_rate = folder, count, sample_rate
        self.peak = 0.0

    def __enter__(self) -> Self:
        self._opened = contextlib.ExitStack()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            hidden = self._opened.enter_context(tempfile.TemporaryDirectory(prefix=".separate-", dir=self.folder))
        except OSError as error:
            raise SepasrError(
                f"{self.folder}: cannot be written ({error.strerror}); check the folder and its rights"
            ) from error
        self._paths = [Path(hidden, f"{number}.wav") for number in range(self.count)]
        # RF64 knows no limit of 4 GB.
        self._files = [
            self._opened.enter_context(soundfile.SoundFile(str(path), "w", self.sample_rate, 1, "FLOAT", format="RF64"))
            for path in self._paths
        ]
        return self

    def __exit__(self, *raised: object) -> None:
        self._opened.close()

    def write(self, signals: Audio) -> None:
        """Append (S, n).

        Raises:
            SepasrError: where the disk is full.
        """
        self.peak = max(self.peak, float(np.abs(signals).max(initial=0.0)))
        with audio.writing(self.folder):
            for file, signal in zip(self._files, signals, strict=True):
                file.write(signal)

    def publish(self, number: int, path: Path) -> None:
        """Make the audio file `path` of a signal, whole or not at all; nothing is appended afterwards."""
        self._files[number].close()
        gain = np.float32(PEAK / max(self.peak, PEAK))
        audio.write_blocks(path, (gain * block for block in audio.blocks(self._paths[number])), self.sample_rate)
