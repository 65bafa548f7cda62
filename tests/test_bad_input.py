"""Bad input, given to the real command line: each case is one clear line, the right exit status, and no traceback.

A tiny corpus and a run whose models were trained for two steps are made once; every case spoils a copy of its own.
"""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from filelock import FileLock
from typer.testing import CliRunner

from sepasr_cli.cli import app

RATE = 8000
RECIPE = """
sample_rate: 8000
corpora:
  train: [{kind: folder, path: speech, speakers: [ann, bob]}]
  dev: [{kind: folder, path: speech, speakers: [cid, dan]}]
  test: [{kind: folder, path: speech, speakers: [eva, fay]}]
simulation:
  mixtures: {train: 2, dev: 1, test: 2}
  room: {size: [5, 4, 2.6], t60: null}
  noise: {kind: white}
separation: {kind: tfgridnet, fft_size: 64, hop: 32, blocks: 1, embedding: 4, lstm: 4, heads: 2, qk_size: 66}
recognition:
  features: {kind: filterbank, mels: 20, fft_size: 256, hop: 80}
  specaugment: null
  encoder: {blocks: 1, size: 16, heads: 2, feed_forward: 16, kernel: 3}
  decoder: {blocks: 1, heads: 2, feed_forward: 16}
pretrain_sep: {max_steps: 2, batch_size: 2, segment_seconds: 0.5}
pretrain_asr: {max_steps: 2, batch_size: 2, warmup_steps: 1}
joint_finetune: {max_steps: 1, batch_size: 1, accumulation: 1}
decoding: {method: greedy}
"""


@dataclass(frozen=True)
class Case:
    """A command, run in a folder that `spoil` has worked on, and what it says last; `line` is a pattern."""

    kind: str
    name: str
    command: str
    line: str
    spoil: Callable[[], object] = lambda: None
    status: int = 1


def make_world() -> None:
    """A corpus of six people, recordings, and a finished run, in the working folder."""
    draw = np.random.default_rng(0)
    for name in ("ann", "bob", "cid", "dan", "eva", "fay"):
        for number in range(2):
            path = Path(f"speech/{name}/{name}{number}.wav")
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.1 * draw.standard_normal(6400 + 400 * number), RATE)
            path.with_suffix(".txt").write_text(f"{name} says {number}")
    Path("recipe.yaml").write_text(RECIPE)
    Path("calls").mkdir()
    for name in ("one", "two"):
        soundfile.write(f"calls/{name}.wav", 0.1 * draw.standard_normal((8000, 2)), RATE)
    for line in ("simulate run --recipe recipe.yaml", "pretrain-sep run", "pretrain-asr run", "joint-finetune run"):
        result = CliRunner().invoke(app, shlex.split(line))
        assert result.exit_code == 0, result.stderr


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_world()
    return folder


def write(path: str, text: str) -> Callable[[], object]:
    return lambda: Path(path).write_text(text)


def sound(path: str, samples: object, rate: int = RATE, subtype: str = "PCM_16") -> Callable[[], object]:
    return lambda: soundfile.write(path, np.asarray(samples), rate, subtype=subtype)


def replace(path: str, old: str, new: str) -> Callable[[], object]:
    def work() -> None:
        text = Path(path).read_text()
        assert old in text
        Path(path).write_text(text.replace(old, new))

    return work


def cut(path: str, share: float = 0.5) -> Callable[[], object]:
    def work() -> None:
        whole = Path(path).read_bytes()
        Path(path).write_bytes(whole[: int(share * len(whole))])

    return work


def remove(path: str) -> Callable[[], object]:
    return lambda: shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()


def all_of(*steps: Callable[[], object]) -> Callable[[], object]:
    return lambda: [step() for step in steps]


TONE = 0.1 * np.sin(np.arange(8000))
STEREO = np.stack([TONE, TONE], axis=1)
NEW = "simulate new --recipe recipe.yaml"

CASES = [
    Case("recipe", "no recipe", "simulate new --recipe nope.yaml", "?"),
    Case("recipe", "not YAML", NEW, "?", write("recipe.yaml", "seed: [1\n")),
    Case("recipe", "key stands twice", NEW, "?", write("recipe.yaml", "seed: 1\nseed: 2\n")),
    Case("recipe", "unknown key", NEW, "?", replace("recipe.yaml", "blocks: 1, emb", "blokcs: 1, emb")),
    Case("recipe", "wrong type", NEW, "?", replace("recipe.yaml", "lstm: 4", "lstm: four")),
    Case("recipe", "impossible value", NEW, "?", replace("recipe.yaml", "blocks: 1, emb", "blocks: 0, emb")),
    Case("recipe", "unknown kind", NEW, "?", replace("recipe.yaml", "kind: white", "kind: pink")),
    Case("recipe", "parts that do not fit", NEW + " --set separation.microphones=4", "?"),
    Case("recipe", "rooms without the reverberation time", NEW + " --set simulation.room.t60=0.01", "?"),
    Case("recipe", "min_angle", NEW + " --set simulation.min_angle=200", "?"),
    Case("recipe", "no corpora", NEW, "?", write("recipe.yaml", "seed: 1")),
    Case("corpus", "folder missing", NEW, "?", replace("recipe.yaml", "path: speech, speakers: [ann", "path: nope, speakers: [ann")),
    Case("corpus", "unknown speaker", NEW, "?", replace("recipe.yaml", "[ann, bob]", "[ann, rob]")),
    Case("corpus", "too few speakers", NEW, "?", replace("recipe.yaml", "[ann, bob]", "[ann]")),
    Case("corpus", "speaker in two splits", NEW, "?", replace("recipe.yaml", "[cid, dan]", "[ann, dan]")),
    Case("corpus", "no transcript", NEW, "?", remove("speech/ann/ann0.txt")),
    Case("corpus", "audio is text", NEW, "?", write("speech/ann/ann0.wav", "no audio")),
    Case("corpus", "audio truncated", NEW, "?", cut("speech/ann/ann0.wav")),
    Case("corpus", "another sample rate", NEW, "?", sound("speech/ann/ann0.wav", TONE, 16000)),
    Case("corpus", "too short speech", NEW + " --set simulation.min_duration=5", "?"),
    Case("corpus", "NaN", NEW, "?", sound("speech/ann/ann0.wav", TONE * np.nan, subtype="FLOAT")),
    Case("corpus", "silent", NEW, "?", sound("speech/ann/ann0.wav", TONE * 0)),
    Case("corpus", "table without column", NEW, "?", all_of(write("t.tsv", "id\taudio\nx\ty.wav\n"), write("recipe.yaml", "corpora: {test: [{kind: table, path: t.tsv}]}"))),
    Case("corpus", "table repeated id", NEW, "?", all_of(write("t.tsv", "id\taudio\tspeaker\ttext\nx\tspeech/ann/ann0.wav\tann\thi\nx\tspeech/bob/bob0.wav\tbob\tho\n"), write("recipe.yaml", "sample_rate: 8000\ncorpora: {test: [{kind: table, path: t.tsv}]}"))),
    Case("corpus", "kaldi pipe", NEW, "?", all_of(lambda: Path("k").mkdir(), write("k/wav.scp", "a sph2pipe -f wav a.sph |\n"), write("k/utt2spk", "a ann\n"), write("recipe.yaml", "corpora: {test: [{kind: kaldi, path: k}]}"))),
    Case("corpus", "an4 layout", NEW, "?", replace("recipe.yaml", "kind: folder, path: speech, speakers: [ann", "kind: an4, path: speech, speakers: [ann")),
    Case("corpus", "noise folder empty", NEW, "?", all_of(lambda: Path("noise").mkdir(), replace("recipe.yaml", "{kind: white}", "{kind: folder, path: noise}"))),
    Case("corpus", "speech of dev vanished before training asr", "pretrain-asr run --restart", "?", remove("speech/cid")),
    Case("run", "no run", "pretrain-sep nope", "?"),
    Case("run", "no recipe in it", "pretrain-sep calls", "?"),
    Case("run", "no mixtures", "pretrain-sep run", "?", remove("run/data")),
    Case("run", "split missing", "separate run --split dev", "?", remove("run/data/dev.jsonl")),
    Case("run", "unknown split", "transcribe run --split tset", "?"),
    Case("run", "no separator", "joint-finetune run", "?", remove("run/separator")),
    Case("run", "no recognizer", "transcribe run --split test --system cascade", "?", remove("run/recognizer")),
    Case("run", "changed setting", "pretrain-sep run --set separation.lstm=6", "?"),
    Case("run", "changed data", "simulate run --set simulation.level_dbfs=-30", "?"),
    Case("run", "changed inputs", "joint-finetune run", "?", cut("run/data/train.jsonl")),
    Case("run", "manifest line", "separate run --split test", "?", cut("run/data/test.jsonl", 0.7)),
    Case("run", "manifest leads out", "separate run --split test", "?", replace("run/data/test.jsonl", '"audio":"test/test_00000/mix', '"audio":"../../test_00000/mix')),
    Case("run", "no bank", "pretrain-sep run --restart --set pretrain_sep.dynamic_mixing=true", "?"),
    Case("run", "another process", "pretrain-sep run", "?", lambda: FileLock("run/.separator.lock").acquire()),
    Case("run", "stage record broken", "pretrain-sep run", "?", cut("run/separator/stage.json")),
    Case("run", "recipe broken", "pretrain-sep run", "?", cut("run/recipe.yaml", 0.5)),
    Case("run", "audio of mixture gone", "pretrain-sep run --restart", "?", remove("run/data/train/train_00000/mixture.flac")),
    Case("run", "audio of mixture gone, separate", "separate run --split test", "?", remove("run/data/test/test_00000/mixture.flac")),
    Case("run", "nothing to score", "score run", "?"),
    Case("run", "mask loss", "pretrain-sep run --restart --set pretrain_sep.loss=mask", "?"),
    Case("run", "run is a file", "simulate recipe.yaml --recipe recipe.yaml", "?"),
    Case("run", "below a file", "simulate recipe.yaml/x --recipe recipe.yaml", "?"),
    Case("model", "weights truncated", "transcribe calls/one.wav --model run", "?", cut("run/joint/model.safetensors")),
    Case("model", "weights of another model", "separate calls/one.wav --model run/separator", "?", lambda: shutil.copy("run/recognizer/model.safetensors", "run/separator/model.safetensors")),
    Case("model", "config broken", "separate calls/one.wav --model run", "?", cut("run/joint/config.json")),
    Case("model", "no such model", "separate calls/one.wav --model ./nope", "?"),
    Case("model", "not a model", "separate calls/one.wav --model calls", "?"),
    Case("model", "no model given", "transcribe calls/one.wav", "?"),
    Case("model", "separator alone", "transcribe calls/one.wav --model run/separator", "?"),
    Case("model", "state broken", "pretrain-sep run --set pretrain_sep.max_steps=3", "?", lambda: cut(str(next(Path("run/separator/state").glob("step-*/model.safetensors"))))()),
    Case("audio", "missing", "separate nope.wav --model run", "?"),
    Case("audio", "empty folder", "separate empty --model run", "?", lambda: Path("empty").mkdir()),
    Case("audio", "not audio", "separate recipe.yaml --model run", "?"),
    Case("audio", "empty file", "separate x.wav --model run", "?", write("x.wav", "")),
    Case("audio", "mono", "separate x.wav --model run", "?", sound("x.wav", TONE)),
    Case("audio", "four channels", "transcribe x.wav --model run", "?", sound("x.wav", np.repeat(STEREO, 2, axis=1))),
    Case("audio", "short", "separate x.wav --model run", "?", sound("x.wav", STEREO[:100])),
    Case("audio", "silent", "separate x.wav --model run", "?", sound("x.wav", STEREO * 0)),
    Case("audio", "nan", "separate x.wav --model run", "?", sound("x.wav", STEREO * np.nan, subtype="FLOAT")),
    Case("audio", "truncated", "separate calls/one.wav --model run", "?", cut("calls/one.wav")),
    Case("audio", "one of three", "separate calls --model run --out out", "?", write("calls/bad.wav", "no audio")),
    Case("audio", "there already", "separate calls/one.wav --model run --out out", "?", all_of(lambda: Path("out").mkdir(), write("out/one_spk1.wav", "mine"))),
    Case("arguments", "run without split", "separate run", "?"),
    Case("arguments", "channels", "separate calls/one.wav --model run --channels left", "?"),
    Case("arguments", "channels not there", "separate calls/one.wav --model run --channels 1,5", "?"),
    Case("arguments", "set", NEW + " --set seed", "?"),
    Case("arguments", "format without out", "transcribe calls/one.wav --model run --format stm", "?"),
    Case("arguments", "format twice", "transcribe calls/one.wav --model run --format stm --out a.json", "?"),
    Case("arguments", "out with split", "separate run --split test --out x", "?"),
    Case("arguments", "split and two", "separate run calls --split test", "?"),
    Case("arguments", "device", "pretrain-sep run --device cuda --restart", "?"),
    Case("arguments", "device unknown", "pretrain-sep run --device gpu", "?"),
    Case("arguments", "workers", NEW + " --workers 0", "?"),
    Case("arguments", "shard", NEW + " --shard 3/2", "?"),
    Case("arguments", "no input", "transcribe", "?"),
    Case("arguments", "unknown option", "score run --splt test", "?"),
    Case("arguments", "unknown command", "separat run", "?"),
]


if __name__ == "__main__":
    import os, sys, tempfile, subprocess, traceback
    base = Path(tempfile.mkdtemp()) / "world"; base.mkdir(); os.chdir(base); make_world()
    want = sys.argv[1:]
    held = []
    for i, case in enumerate(CASES):
        if want and not any(w in case.name or w == case.kind for w in want): continue
        here = base.parent / f"case{i}"; shutil.copytree(base, here); os.chdir(here)
        held.append(case.spoil())
        result = CliRunner().invoke(app, shlex.split(case.command))
        err = result.stderr.replace(str(here), "HERE")
        if result.exception and not isinstance(result.exception, SystemExit):
            err = "!!!TRACEBACK " + "".join(traceback.format_exception(result.exception))[-1500:]
        print(f"[{case.kind}] {case.name} | {case.command} -> {result.exit_code}\n{err.rstrip()}\n" + (f"STDOUT {result.stdout[:200]}\n" if result.stdout and result.exit_code != 2 else ""))
