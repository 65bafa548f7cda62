"""Tiny models with random weights, and a run of them in small, which any test can use."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sepasr_cli.features import FilterbankConfig
from sepasr_cli.joint import JointModel
from sepasr_cli.manifest import Mixture, Source, write_manifest
from sepasr_cli.recipe import load_recipe
from sepasr_cli.recognition import Recognizer, RecognizerConfig, Vocabulary
from sepasr_cli.recognition.conformer import ConformerConfig
from sepasr_cli.recognition.transformer_decoder import TransformerDecoderConfig
from sepasr_cli.rundir import RunDir
from sepasr_cli.separation import TFGridNet, TFGridNetConfig


@pytest.fixture(scope="session")
def tiny_separator() -> TFGridNet:
    """A TF-GridNet of two microphones and two speakers at 8 kHz."""
    torch.manual_seed(0)
    sizes = {"fft_size": 64, "hop": 32, "blocks": 1, "embedding": 4, "lstm": 4, "heads": 2, "qk_size": 66}
    return TFGridNet(TFGridNetConfig(sample_rate=8000, **sizes)).eval()


@pytest.fixture(scope="session")
def tiny_joint(tiny_separator: TFGridNet) -> JointModel:
    """The tiny separator with a recogniser of capital letters, which finds something to say in any sound."""
    torch.manual_seed(0)
    config = RecognizerConfig(
        sample_rate=8000,
        features=FilterbankConfig(mels=20, fft_size=256, hop=80),
        encoder=ConformerConfig(blocks=1, size=16, heads=2, feed_forward=16, kernel=3),
        decoder=TransformerDecoderConfig(blocks=1, heads=2, feed_forward=16),
        vocabulary=Vocabulary.train(["ABC DEF"], "characters"),
    )
    recognizer = Recognizer(config).eval()
    with torch.no_grad():
        recognizer.ctc_head.weight.mul_(8)
    return JointModel.join(tiny_separator, recognizer).eval()


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return Vocabulary.train(["ONE", "TWO", "GO"], "characters", 0)


@pytest.fixture(scope="session")
def separator_config() -> TFGridNetConfig:
    return TFGridNetConfig(
        sample_rate=8000,
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
        sample_rate=8000,
        features=FilterbankConfig(mels=16, fft_size=128, hop=80),
        specaugment=None,
        encoder=ConformerConfig(blocks=1, size=16, heads=2, feed_forward=16, kernel=3, subsampling=2, dropout=0.1),
        decoder=TransformerDecoderConfig(blocks=1, heads=2, feed_forward=16, dropout=0.1),
        vocabulary=vocabulary,
    )


@pytest.fixture(scope="session")
def separator_folder(tiny_separator: TFGridNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny separator as it is saved."""
    folder = tmp_path_factory.mktemp("separator")
    tiny_separator.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def joint_folder(tiny_joint: JointModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny joint model as it is saved."""
    folder = tmp_path_factory.mktemp("joint")
    tiny_joint.save_pretrained(folder)
    return folder


@pytest.fixture
def talkers() -> np.ndarray:
    """Two signals with the ups and downs of speech, (2, N), a second and a half at 8 kHz."""
    draw = np.random.default_rng(0)
    level = np.repeat(draw.random((2, 30)), 400, axis=1)
    return (0.2 * level * draw.standard_normal(level.shape)).astype(np.float32)


@pytest.fixture
def make_run(tmp_path: Path, tiny_joint: JointModel) -> Callable[..., RunDir]:
    """Makes a run of `count` test mixtures whose models are tiny; `joint=False` leaves the joint model out."""

    def make(count: int = 3, joint: bool = True, texts: bool = True) -> RunDir:
        run = RunDir(tmp_path / "run")
        run.path.mkdir()
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text("sample_rate: 8000\ndecoding: {method: greedy}\n")
        run.write_recipe(load_recipe(recipe))
        tiny_joint.separator.save_pretrained(run.path / "separator")
        tiny_joint.recognizer.save_pretrained(run.path / "recognizer")
        if joint:
            tiny_joint.save_pretrained(run.path / "joint")
        write_manifest(run.manifest("test"), [_mixture(run.data, number, texts) for number in range(count)])
        return run

    return make


def _mixture(folder: Path, number: int, texts: bool) -> Mixture:
    draw = np.random.default_rng(number)
    level = np.repeat(draw.random((2, 20)), 400, axis=1)
    signals = 0.2 * level * draw.standard_normal(level.shape)
    name = f"test_{number}"
    (folder / "test").mkdir(parents=True, exist_ok=True)
    # One microphone more than the model takes.
    soundfile.write(folder / f"test/{name}.flac", np.stack([signals.sum(0), signals[0], signals[1]]).T, 8000)
    sources = []
    for speaker, signal in zip(("ann", "bob"), signals, strict=True):
        file = f"test/{name}_{speaker}.flac"
        soundfile.write(folder / file, signal, 8000)
        text = f"ABC {number}" if texts else None
        sources.append(Source(speaker=speaker, text=text, end=1.0, direct=file, early=file, image=file))
    return Mixture(id=name, audio=f"test/{name}.flac", sample_rate=8000, duration=1.0, sources=tuple(sources))
