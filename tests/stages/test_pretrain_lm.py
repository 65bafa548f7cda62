"""`pretrain-lm` from transcripts and files, and `transcribe` with what it makes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sepasr_cli.errors import SepasrError
from sepasr_cli.pretrained import language_model_of, load_language_model
from sepasr_cli.recognition import LanguageModel, LanguageModelConfig
from sepasr_cli.rundir import RunDir
from sepasr_cli.stages.pretrain_asr import pretrain_asr
from sepasr_cli.stages.pretrain_lm import pretrain_lm
from sepasr_cli.stages.transcribe import transcribe

RECIPE = """
sample_rate: 8000
corpora:
  train: [{kind: folder, path: speech, speakers: [ann, bob]}]
  dev: [{kind: folder, path: speech, speakers: [cid]}]
recognition:
  features: {kind: filterbank, mels: 20, fft_size: 256, hop: 80}
  specaugment: null
  encoder: {blocks: 1, size: 16, heads: 2, feed_forward: 16, kernel: 3}
  decoder: {blocks: 1, heads: 2, feed_forward: 16}
language_model: {blocks: 1, size: 16, heads: 2, feed_forward: 16, embedding: 8}
pretrain_asr: {max_steps: 1, batch_size: 2, warmup_steps: 1}
pretrain_lm: {max_steps: 4, batch_size: 2, warmup_steps: 1, validate_every: 2, text: [news.txt]}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    for name in ("ann", "bob", "cid"):
        path = tmp_path / f"speech/{name}/{name}.wav"
        path.parent.mkdir(parents=True)
        soundfile.write(path, 0.1 * draw.standard_normal(6400), 8000)
        path.with_suffix(".txt").write_text(f"{name} says abcd")
    (tmp_path / "news.txt").write_text("Bob says:\n\nAnn says (Nan).\n")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path / "recipe.yaml"


def dev_lines(run: Path) -> list[dict[str, float]]:
    lines = (run / "language_model/metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["split"] == "dev"]


@pytest.mark.parametrize("first", [pretrain_asr, pretrain_lm])
def test_either_may_come_first_and_the_tokens_are_the_same(
    recipe: Path, tmp_path: Path, first: Callable[..., None]
) -> None:
    run = tmp_path / "run"
    (second,) = {pretrain_asr, pretrain_lm} - {first}
    first(run, recipe=recipe, device="cpu")
    second(run, device="cpu")
    tokens = [(run / folder / "tokens.txt").read_text() for folder in ("recognizer", "language_model")]
    assert tokens[0] == tokens[1]
    assert [record["step"] for record in dev_lines(run)] == [2, 4]
    assert all(record["perplexity"] > 1 for record in dev_lines(run))
    model = load_language_model(str(run))
    assert model.vocabulary.tokens == tuple(tokens[0].splitlines())
    assert RunDir(run).status("language_model") == "finished"


def test_a_training_in_two_parts_equals_one_and_other_text_needs_restart(recipe: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    pretrain_lm(whole, recipe=recipe, device="cpu")
    pretrain_lm(parts, recipe=recipe, overrides=["pretrain_lm.max_steps=2"], device="cpu")
    pretrain_lm(parts, overrides=["pretrain_lm.max_steps=4"], device="cpu")
    weights = [load_language_model(str(run)).state_dict() for run in (whole, parts)]
    torch.testing.assert_close(weights[0], weights[1])
    (tmp_path / "news.txt").write_text("ann")
    with pytest.raises(SepasrError, match=r"other inputs \(text\); pass --restart"):
        pretrain_lm(parts, device="cpu")


def test_text_alone_with_the_tokens_of_the_recogniser(recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    pretrain_asr(run, recipe=recipe, device="cpu")
    (tmp_path / "dev.txt").write_text("cid says\n")
    overrides = ["pretrain_lm.transcripts=false", "pretrain_lm.dev_text=[dev.txt]", "corpora.train=[]"]
    pretrain_lm(run, overrides=overrides, device="cpu")
    assert dev_lines(run)[-1]["tokens"] == 9
    with pytest.raises(SepasrError, match="nothing to validate on"):
        pretrain_lm(run, overrides=[*overrides, "pretrain_lm.dev_text=[]"], restart=True, device="cpu")


@pytest.fixture
def asked(tiny_joint: object) -> LanguageModel:
    """A language model of the tiny recogniser's tokens which says F and nothing else."""
    vocabulary = tiny_joint.recognizer.vocabulary  # type: ignore[attr-defined]
    config = LanguageModelConfig(blocks=1, size=16, heads=2, feed_forward=16, embedding=8, vocabulary=vocabulary)
    model = LanguageModel(config).eval()
    with torch.no_grad():
        model.out.weight.zero_()
        model.out.bias.fill_(-99)
        model.out.bias[[vocabulary.encode("F")[0], vocabulary.boundary_id]] = 99
    return model


def test_transcribe_asks_the_runs_language_model(
    make_run: Callable[..., RunDir], asked: LanguageModel, tmp_path: Path, talkers: np.ndarray
) -> None:
    run = make_run()
    soundfile.write(tmp_path / "a.wav", talkers.T, 8000)

    def words(**options: object) -> str:
        settings = {"beam": 3, "decoding": "beam", "device": "cpu"} | options
        outcome = transcribe([tmp_path / "a.wav"], str(run.path), **settings)  # type: ignore[arg-type]
        outcome.check()
        return " ".join(segment.words for segment in outcome.segments)

    without = words()
    assert set(without) - set("F ")
    with pytest.raises(SepasrError, match="lm_weight is 1, and there is no language model"):
        words(lm_weight=1.0)
    with pytest.raises(SepasrError, match="language_model: no trained model; run `sepasr pretrain-lm"):
        words(language_model=str(run.path))
    recipe = run.recipe_path.read_text()
    run.recipe_path.write_text(recipe.replace("lm_weight: null", "lm_weight: 0.7"))
    assert words() == without
    run.recipe_path.write_text(recipe)
    asked.save_pretrained(tmp_path / "lm")
    named = words(language_model=str(tmp_path / "lm"))
    assert set(named) <= set("F ") and named
    asked.save_pretrained(run.path / "language_model")
    assert words() == named
    assert words(lm_weight=0.0) == without
    assert words(decoding="greedy") != named
    with pytest.raises(SepasrError, match="joint: holds a joint; expected a language model"):
        words(language_model=str(run.path / "joint"))


def test_a_split_remembers_the_language_model(make_run: Callable[..., RunDir], asked: LanguageModel) -> None:
    run = make_run(count=1)
    transcribe([run.path], split="test", beam=2, decoding="beam", device="cpu").check()
    asked.save_pretrained(run.path / "language_model")
    with pytest.raises(SepasrError, match=r"lm_weight = 0.0, now 1.0; pass --restart"):
        transcribe([run.path], split="test", beam=2, decoding="beam", device="cpu")
    outcome = transcribe([run.path], split="test", beam=2, decoding="beam", device="cpu", restart=True)
    assert set(" ".join(segment.words for segment in outcome.segments)) <= set("F ")


def test_beside_the_weights_of_a_saved_model(joint_folder: Path, asked: LanguageModel, tmp_path: Path) -> None:
    assert language_model_of(str(joint_folder)) is None
    asked.save_pretrained(tmp_path / "language_model")
    assert language_model_of(str(tmp_path)) == str(tmp_path / "language_model")
    assert load_language_model(str(tmp_path)).vocabulary == asked.vocabulary
