"""Tiny models and data for training; audio is noise or tones made on the fly."""

from pathlib import Path

import numpy as np
import pytest

from sepasr_cli import audio
from sepasr_cli.features import FilterbankConfig
from sepasr_cli.manifest import Mixture, Source, Utterance, write_manifest
from sepasr_cli.recognition.conformer import ConformerConfig
from sepasr_cli.recognition.recognizer import Recognizer, RecognizerConfig
from sepasr_cli.recognition.tokens import Vocabulary
from sepasr_cli.recognition.transformer_decoder import TransformerDecoderConfig
from sepasr_cli.separation.tfgridnet import TFGridNetConfig

RATE = 8000
TEXTS = ("ONE", "TWO", "GO")


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return Vocabulary.train(TEXTS, "characters", 0)


@pytest.fixture(scope="session")
def separator_config() -> TFGridNetConfig:
    return TFGridNetConfig(
        sample_rate=RATE,
        microphones=2,
        fft_size=64,
        hop=32,
        blocks=1,
        embedding=4,
        lstm=4,
        stride=4,
        heads=2,
        qk_size=66,
    )


@pytest.fixture(scope="session")
def recognizer_config(vocabulary: Vocabulary) -> RecognizerConfig:
    return RecognizerConfig(
        sample_rate=RATE,
        features=FilterbankConfig(mels=16, fft_size=128, hop=80),
        specaugment=None,
        encoder=ConformerConfig(blocks=1, size=16, heads=2, feed_forward=16, kernel=3, subsampling=2, dropout=0.1),
        decoder=TransformerDecoderConfig(blocks=1, heads=2, feed_forward=16, dropout=0.1),
        vocabulary=vocabulary,
    )


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
