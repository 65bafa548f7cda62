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

from sepasr_cli import audio
from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import Mixture, read_manifest
from sepasr_cli.pretrained import load_recognizer, load_separator
from sepasr_cli.recipe import load_recipe
from sepasr_cli.recognition.recognizer import Recognizer
from sepasr_cli.stages.joint_finetune import joint_finetune
from sepasr_cli.stages.pretrain_asr import _initial, pretrain_asr
from sepasr_cli.stages.pretrain_sep import pretrain_sep
from sepasr_cli.stages.simulate import simulate

RECIPE = """
sample_rate: 8000
corpora:
  train: [{kind: folder, path: speech, speakers: [ann, bob]}]
  dev: [{kind: folder, path: speech, speakers: [cid, dan]}]
recognition:
  features: {kind: filterbank, mels: 20, fft_size: 256, hop: 80}
  normalize: global
  specaugment: null
  encoder: {kind: transformer, blocks: 1, size: 16, heads: 2, feed_forward: 16}
  decoder: {blocks: 1, heads: 2, feed_forward: 16}
pretrain_asr:
  batch_size: 2
  warmup_steps: 1
"""

#: What fine-tuning on mixtures made while training needs beside it.
JOINT = """
  splice: 1.0
  splice_from: 1
  max_steps: 2
simulation: {mixtures: {train: 0, dev: 1, test: 0}, speakers: 2, references: [early], response_bank: 1}
separation: {fft_size: 64, hop: 32, blocks: 1, embedding: 4, lstm: 4, heads: 2}
pretrain_sep: {max_steps: 1, batch_size: 1, dynamic_mixing: true, loss: si_sdr}
joint_finetune: {max_steps: 2, batch_size: 1, accumulation: 1, dynamic_mixing: true, log_every: 1}
"""


@pytest.fixture
def signals(tmp_path: Path) -> list[NDArray[np.float32]]:
    """Two utterances of each of four speakers, and the recipe that trains on them."""
    draw, signals = np.random.default_rng(0), []
    for name, number in ((name, number) for name in ("ann", "bob", "cid", "dan") for number in range(2)):
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
    overrides = ["pretrain_asr.max_steps=1"]
    pretrain_asr(tmp_path / "run", recipe=tmp_path / "recipe.yaml", overrides=overrides, device="cpu")
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


def test_fine_tuning_splices_the_words_that_were_found(tmp_path: Path, signals: list[NDArray[np.float32]]) -> None:
    run, recipe = tmp_path / "run", tmp_path / "recipe.yaml"
    with recipe.open("a") as file:
        file.write(JOINT)
    for command in (simulate, pretrain_sep, pretrain_asr):
        command(run, recipe=recipe)

    def losses(share: float) -> list[float]:
        joint_finetune(run, overrides=[f"joint_finetune.splice={share}"], device="cpu", restart=True)
        lines = (run / "joint/metrics.jsonl").read_text().splitlines()
        return [row["loss"] for row in map(json.loads, lines) if row["split"] == "train"]

    assert losses(1.0) != losses(0.0)
    (run / "recognizer/words.json").unlink()
    with pytest.raises(SepasrError, match=r"words.json: not found, which joint_finetune.splice needs; train the"):
        losses(1.0)


def test_separated_speech_is_made_once_and_learned_from(tmp_path: Path, signals: list[NDArray[np.float32]]) -> None:
    run, recipe = tmp_path / "run", tmp_path / "recipe.yaml"
    with recipe.open("a") as file:
        file.write(JOINT)
    data = ["simulation.mixtures={train: 2, dev: 1, test: 0}", "separation.fewer_microphones=true"]
    for command in (simulate, pretrain_sep, pretrain_asr):
        command(run, recipe=recipe, overrides=data)
    first = run.rename(tmp_path / "first")
    settings = [*data, "pretrain_asr.speech=[corpus, separated]", "pretrain_asr.microphone_counts=[1, 2]"]
    settings += [f"pretrain_asr.separator={first}", f"pretrain_asr.initial={first}"]
    simulate(run, recipe=recipe, overrides=settings)
    pretrain_asr(run, overrides=["pretrain_asr.max_steps=1"], device="cpu")
    made = {path: path.read_bytes() for path in (run / "recognizer/separated").rglob("*.flac")}
    assert len(made) == 6

    mixtures = read_manifest(run / "data/train.jsonl", Mixture)
    separator = load_separator(str(first), system="cascade")
    for index, mixture in enumerate(mixtures):
        heard, _ = audio.read(run / "data" / mixture.audio)
        with torch.inference_mode():
            estimates = separator(torch.from_numpy(heard[None, : 1 + index]))[0]
        wanted = (0.5 * estimates / estimates.abs().amax(1, keepdim=True)).numpy()
        found = [audio.read(run / f"recognizer/separated/train/{mixture.id}_s{source}.flac")[0][0] for source in (1, 2)]
        errors = [min(np.abs(one - two).max() for two in wanted) for one in found]
        assert max(errors) < 1e-4

    assert load_recognizer(str(run), 8000).vocabulary == load_recognizer(str(first), 8000).vocabulary
    assert {"train_00000/0", "ann-ann0"} <= set(json.loads((run / "recognizer/words.json").read_text()))
    pretrain_asr(run, device="cpu")
    assert {path: path.read_bytes() for path in made} == made


def test_a_frozen_ssl_model_stays_frozen_where_training_goes_on(
    tmp_path: Path, signals: list[NDArray[np.float32]]
) -> None:
    from transformers import WavLMConfig, WavLMModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    convolutions = {"conv_dim": [8, 8], "conv_kernel": [10, 8], "conv_stride": [10, 16], "num_feat_extract_layers": 2}
    positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    WavLMModel(WavLMConfig(**sizes, **convolutions, **positions)).save_pretrained(tmp_path / "wavlm")
    features = {"kind": "ssl", "name": str(tmp_path / "wavlm"), "reduction": 12}
    settings = [f"recognition.features={json.dumps(features)}", "sample_rate=16000", "pretrain_asr.max_steps=1"]
    settings += ["corpora.train=[{kind: folder, path: speech, speakers: [ann, bob], resample: true}]"]
    settings += ["corpora.dev=[{kind: folder, path: speech, speakers: [cid], resample: true}]"]
    pretrain_asr(tmp_path / "first", recipe=tmp_path / "recipe.yaml", overrides=settings, device="cpu")
    found = _initial(str(tmp_path / "first"), load_recipe(tmp_path / "recipe.yaml", settings))
    learning = {name for name, weight in found.named_parameters() if weight.requires_grad}
    assert "features.layer_weights" in learning
    assert not any(name.startswith("features.model.") for name in learning)
