"""Tiny models and data for training; audio is noise or tones made on the fly."""

from pathlib import Path

import numpy as np
import pytest

from sepasr_cli import audio
from sepasr_cli.manifest import Mixture, Source, Utterance, write_manifest
from sepasr_cli.recognition.recognizer import Recognizer, RecognizerConfig

RATE = 8000
TEXTS = ("ONE", "TWO", "GO")


@pytest.fixture
def recognizer(recognizer_config: RecognizerConfig) -> Recognizer:
    return Recognizer(recognizer_config)


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six mixtures of two speakers and two microphones, with 'early' references."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    mixtures = []
    for index in range(6):
        length = RATE // 2 + 400 * index
        sources = 0.1 * rng.standard_normal((2, length)).astype(np.float32)
        mixture = np.stack([sources.sum(0), sources[0] - sources[1]])
        audio.write(folder / f"{index}.wav", mixture, RATE)
        for speaker in range(2):
            audio.write(folder / f"{index}_{speaker}.wav", sources[speaker], RATE)
        mixtures.append(
            Mixture(
                id=f"mix{index}",
                audio=f"{index}.wav",
                sample_rate=RATE,
                duration=length / RATE,
                sources=tuple(
                    Source(
                        speaker=f"s{speaker}",
                        text=TEXTS[(index + speaker) % 3],
                        end=length / RATE,
                        early=f"{index}_{speaker}.wav",
                    )
                    for speaker in range(2)
                ),
            )
        )
    write_manifest(folder / "train.jsonl", mixtures)
    return folder / "train.jsonl"


@pytest.fixture(scope="session")
def utterances(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    """Four speakers with two utterances each."""
    folder = tmp_path_factory.mktemp("speech")
    rng = np.random.default_rng(1)
    found = []
    for index in range(8):
        path = folder / f"{index}.wav"
        length = RATE // 2 + 300 * index
        audio.write(path, 0.1 * rng.standard_normal((1, length)), RATE)
        found.append(
            Utterance(
                id=f"u{index}",
                audio=path,
                speaker=f"s{index % 4}",
                text=TEXTS[index % 3],
                sample_rate=RATE,
                duration=length / RATE,
            )
        )
    return found
