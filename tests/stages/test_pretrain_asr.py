"""`pretrain-asr`: what is particular to it; training itself is tested in tests/training."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from sepasr_cli.recognition.recognizer import Recognizer
from sepasr_cli.stages.pretrain_asr import pretrain_asr

RECIPE = """
sample_rate: 8000
corpora:
  train: [{kind: folder, path: speech, speakers: [ann, bob]}]
  dev: [{kind: folder, path: speech, speakers: [cid]}]
recognition:
  features: {kind: filterbank, mels: 20, fft_size: 256, hop: 80}
  normalize: global
  specaugment: null
  encoder: {kind: transformer, blocks: 1, size: 16, heads: 2, feed_forward: 16}
  decoder: {blocks: 1, heads: 2, feed_forward: 16}
pretrain_asr: {max_steps: 1, batch_size: 2, warmup_steps: 1}
"""


@pytest.fixture
def signals(tmp_path: Path) -> list[NDArray[np.float32]]:
    """Two utterances of each of three speakers, and the recipe that trains on them."""
    draw, signals = np.random.default_rng(0), []
    for name, number in ((name, number) for name in ("ann", "bob", "cid") for number in range(2)):
        path = tmp_path / "speech" / name / f"{name}{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        signals.append(0.1 * draw.random() * draw.standard_normal(6400 + 800 * number).astype(np.float32))
        soundfile.write(path, signals[-1], 8000, "FLOAT")
        path.with_suffix(".txt").write_text(f"{name} says {number}")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return signals


def test_global_normalisation_is_measured_on_the_training_speech(
    tmp_path: Path, signals: list[NDArray[np.float32]]
) -> None:
    pretrain_asr(tmp_path / "run", recipe=tmp_path / "recipe.yaml", device="cpu")
    model = Recognizer.from_pretrained(str(tmp_path / "run/recognizer"))
    heard = [model.features(torch.from_numpy(one)[None], torch.tensor([len(one)]))[0][0] for one in signals[:4]]
    frames = torch.cat(heard)
    torch.testing.assert_close(model.normalisation.mean, frames.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.normalisation.deviation, frames.std(0, unbiased=False), rtol=1e-3, atol=1e-4)


def test_words_are_found_halfway_and_spliced_from_then_on(tmp_path: Path, signals: list[NDArray[np.float32]]) -> None:
    settings = ["pretrain_asr.max_steps=6", "pretrain_asr.save_every=1", "pretrain_asr.splice=1.0"]
    settings += ["pretrain_asr.splice_from=3", "recognition.encoder.subsampling=2"]

    def train(name: str, pieces: int = 1) -> dict[str, Tensor]:
        for _ in range(pieces):
            pretrain_asr(
                tmp_path / name,
                recipe=tmp_path / "recipe.yaml",
                overrides=settings,
                device="cpu",
                max_minutes=None if pieces == 1 else 0,
            )
        return load_file(tmp_path / name / "recognizer/model.safetensors")

    whole = train("run")
    times = json.loads((tmp_path / "run/recognizer/words.json").read_text())
    assert set(times) <= {"ann-ann0", "ann-ann1", "bob-bob0", "bob-bob1"} and times
    assert all(len(words) == 3 for words in times.values())
    with pytest.raises(AssertionError):
        settings[2] = "pretrain_asr.splice=0.0"
        torch.testing.assert_close(train("other"), whole)
    settings[2] = "pretrain_asr.splice=1.0"
    torch.testing.assert_close(train("pieces", pieces=8), whole)
