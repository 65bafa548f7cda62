"""Bad input, given to the real command line: each case is one clear line, the right exit status, and no traceback.

A tiny corpus and a run whose models were trained for two steps are made once; every case spoils a copy of its own.
"""

import io
import json
import os
import pickle
import re
import shlex
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from filelock import FileLock
from typer.testing import CliRunner

from sepasr_cli.cli import app

RATE = 8000
TABLE = Path(__file__).with_name("bad_input.md")
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


#: A published set in small, without noise or reverberation, for separation alone.
SET = """
sample_rate: 8000
dataset: {kind: whamr, path: whamr, room: anechoic, transcripts: whamr/wsj0}
separation: {kind: tfgridnet, fft_size: 64, hop: 32, blocks: 1, embedding: 4, lstm: 4, heads: 2, qk_size: 66}
recognition: {features: {kind: filterbank, mels: 20, fft_size: 256, hop: 80}}
pretrain_sep: {max_steps: 1, batch_size: 1, segment_seconds: 0.3}
"""


@dataclass(frozen=True)
class Case:
    """A row of bad_input.md."""

    name: str
    command: str
    line: str
    status: int


def read_cases() -> list[Case]:
    rows = [line.strip("| ").split(" | ") for line in TABLE.read_text("utf-8").splitlines() if line.startswith("| ")]
    return [
        Case(f"{kind}: {name}", command.strip("`"), line, int(status)) for kind, name, command, line, status in rows[1:]
    ]


def make_world(publish: Callable[..., Path], write_espnet: Callable[[Path], None]) -> None:
    """A corpus of six people, recordings, a finished run, and a published set with its run, in the working folder."""
    draw = np.random.default_rng(0)
    for name in ("ann", "bob", "cid", "dan", "eva", "fay"):
        for number in range(2):
            path = Path(f"speech/{name}/{name}{number}.wav")
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.1 * draw.standard_normal(6400 + 400 * number), RATE)
            path.with_suffix(".txt").write_text(f"{name} says {number}")
    Path("recipe.yaml").write_text(RECIPE)
    Path("whisper.txt").write_text("why\n")
    Path("calls").mkdir()
    for name in ("one", "two"):
        soundfile.write(f"calls/{name}.wav", 0.1 * draw.standard_normal((8000, 2)), RATE)
    publish("whamr", Path("whamr"))
    write_espnet(Path("exp"))
    Path("set.yaml").write_text(SET)
    lines = ["simulate run --recipe recipe.yaml", "pretrain-sep run", "pretrain-asr run", "joint-finetune run"]
    for line in [*lines, "simulate set --recipe set.yaml"]:
        result = CliRunner().invoke(app, shlex.split(line))
        assert result.exit_code == 0, result.stderr


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, publish: Callable[..., Path], write_espnet: Callable[[Path], None]
) -> Path:
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_world(publish, write_espnet)
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


def relink(path: str, target: str) -> Callable[[], object]:
    def work() -> None:
        Path(path).unlink()
        Path(path).symlink_to(target)

    return work


def tables(metadata: bytes, spoken: str = "wsj0/a.wav") -> Callable[[], object]:
    """What WHAMR! is made from, but for the audio, and a recipe that asks for it."""
    names = "output_filename,s1_path,s2_path"
    columns = "utterance_id,room_x,room_y,room_z,micL_x,micL_y,micR_x,micR_y,mic_z,s1_x,s1_y,s1_z,s2_x,s2_y,s2_z,T60"

    def work() -> None:
        for split in ("tr", "cv", "tt"):
            files = {
                f"tables/mix_2_spk_filenames_{split}.csv": f"{names}\nx.wav,{spoken},wsj0/b.wav\n",
                f"tables/reverb_params_{split}.csv": f"{columns}\nx.wav,5,4,3,2,2,2.1,2,1,1,1,1,3,3,1,0.3\n",
            }
            for path, text in files.items():
                Path(path).parent.mkdir(exist_ok=True)
                Path(path).write_text(text)
            Path("noise/metadata").mkdir(parents=True, exist_ok=True)
            Path(f"noise/metadata/scaling_{split}.npz").write_bytes(metadata)

    made_from = "made, make_from: {wsj0: speech, noise: noise, tables: tables}"
    return all_of(work, replace("set.yaml", "whamr, room", f"{made_from}, room"))


def reweigh(change: Callable[[dict[str, object]], object]) -> Callable[[], object]:
    """Change the checkpoint of an experiment of ESPnet."""

    def work() -> None:
        state = torch.load("exp/asr/valid.acc.best.pth", weights_only=True)
        change(state)
        torch.save(state, "exp/asr/valid.acc.best.pth")

    return work


def packed(meta: str) -> Callable[[], object]:
    """A zip as ESPnet packs it, with such a meta.yaml."""

    def work() -> None:
        with zipfile.ZipFile("packed.zip", "w") as made:
            made.writestr("meta.yaml", meta)

    return work


def archive(content: object) -> bytes:
    """An `.npz` file whose arrays of objects are pickles of `content`."""
    stream, header = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": (1,), "fortran_order": False, "descr": "|O"})
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("utterance_id.npy", header.getvalue() + pickle.dumps(content))
    return stream.getvalue()


def levels() -> bytes:
    """The metadata of WHAM!'s noise for one mixture."""
    stream = io.BytesIO()
    gains = {f"scaling_{part}_8k_max": np.ones((1, 2) if part == "wsjmix" else 1) for part in GAINS}
    np.savez(stream, utterance_id=np.array(["x.wav"], object), speech_start_sample_16k=np.zeros(1), **gains)
    return stream.getvalue()


GAINS = ("wsjmix", "wham_speech", "wham_noise")


class Code:
    """A pickle of it runs a command when read carelessly."""

    def __reduce__(self) -> object:
        return os.system, ("touch pwned",)


def all_of(*steps: Callable[[], object]) -> Callable[[], object]:
    return lambda: [step() for step in steps]


def table(text: str) -> Callable[[], object]:
    return all_of(
        write("t.tsv", text),
        write("recipe.yaml", f"sample_rate: {RATE}\ncorpora: {{test: [{{kind: table, path: t.tsv}}]}}"),
    )


def kaldi(text: str) -> Callable[[], object]:
    files = all_of(write("kaldi/wav.scp", text), write("kaldi/utt2spk", "a ann\n"))
    return all_of(
        lambda: Path("kaldi").mkdir(), files, write("recipe.yaml", "corpora: {test: [{kind: kaldi, path: kaldi}]}")
    )


MIXTURE = "050a0501_2_22ga0101_-2"


def scored(summary: str = "{}", recordings: str = "") -> Callable[[], object]:
    folder = Path("run/scores/test")
    return all_of(
        lambda: folder.mkdir(parents=True),
        lambda: (folder / "summary.json").write_text(summary),
        lambda: (folder / "recordings.jsonl").write_text(recordings),
    )


TONE = 0.1 * np.sin(np.arange(8000))
STEREO = np.stack([TONE, TONE], axis=1)


def spoken(path: str, *lines: str) -> Callable[[], object]:
    """A transcript in STM: recording, speaker, start, end, words."""
    rows = [line.split(maxsplit=1) for line in lines]
    return write(path, "".join(f"{recording} 1 {rest}\n" for recording, rest in rows))


def scores_of(folder: str, level: float) -> Callable[[], object]:
    def work() -> None:
        for kind in ("ref", "est"):
            Path(f"{folder}/{kind}").mkdir(parents=True)
            soundfile.write(f"{folder}/{kind}/a.wav", level * TONE, RATE)
        line = f"score --reference {folder}/ref --estimate {folder}/est --metrics si_sdr --out {folder}/scores"
        assert CliRunner().invoke(app, shlex.split(line)).exit_code == 0

    return work


def in_the_box() -> None:
    """The run's model as the one that comes with the package."""
    shutil.copytree("run/joint", "in_the_box")


SAID = spoken("said.stm", "a ann 0 2 good morning to all of you", "b bob 1 3 it rains")

#: What is done before each row of bad_input.md; nothing where the command itself is what is wrong.
SPOILS: dict[str, Callable[[], object]] = {
    "recipe: not YAML": write("recipe.yaml", "seed: [1\n"),
    "recipe: a key twice": write("recipe.yaml", "seed: 1\nseed: 2\n"),
    "recipe: a list": write("recipe.yaml", "- seed: 1\n"),
    "recipe: unknown key": replace("recipe.yaml", "blocks: 1, emb", "blokcs: 1, emb"),
    "recipe: wrong type": replace("recipe.yaml", "lstm: 4", "lstm: four"),
    "recipe: impossible value": replace("recipe.yaml", "blocks: 1, emb", "blocks: 0, emb"),
    "recipe: unknown kind": replace("recipe.yaml", "kind: white", "kind: pink"),
    "recipe: no corpora": write("recipe.yaml", "seed: 1"),
    "recipe: a base that is its own": write("recipe.yaml", "base: recipe.yaml"),
    "corpus: no such folder": replace("recipe.yaml", "path: speech, speakers: [ann", "path: nope, speakers: [ann"),
    "corpus: another layout": replace(
        "recipe.yaml", "kind: folder, path: speech, speakers: [ann", "kind: an4, path: speech, speakers: [ann"
    ),
    "corpus: unknown speaker": replace("recipe.yaml", "[ann, bob]", "[ann, rob]"),
    "corpus: no list of speakers": replace("recipe.yaml", "[ann, bob]", "nope.txt"),
    "corpus: too few speakers": replace("recipe.yaml", "[ann, bob]", "[ann]"),
    "corpus: a speaker in two splits": replace("recipe.yaml", "[cid, dan]", "[ann, dan]"),
    "corpus: an utterance in two corpora": replace(
        "recipe.yaml", "train: [", "train: [{kind: folder, path: speech, speakers: [ann]}, "
    ),
    "corpus: patterns that match nothing": replace("recipe.yaml", "speakers: [ann, bob]", "include: ['x*']"),
    "corpus: no transcript": remove("speech/ann/ann0.txt"),
    "corpus: a transcript that is no UTF-8": lambda: Path("speech/ann/ann0.txt").write_bytes(b"caf\xe9"),
    "corpus: text named .wav": write("speech/ann/ann0.wav", "no audio"),
    "corpus: truncated audio": cut("speech/ann/ann0.wav"),
    "corpus: another sample rate": sound("speech/ann/ann0.wav", TONE, 16000),
    "corpus: NaN samples": sound("speech/ann/ann0.wav", TONE * np.nan, subtype="FLOAT"),
    "corpus: silence": sound("speech/ann/ann0.wav", TONE * 0),
    "corpus: a table without a column": table("id\taudio\nx\tspeech/ann/ann0.wav\n"),
    "corpus: a table with an id twice": table(
        "id\taudio\tspeaker\ttext\nx\tspeech/ann/ann0.wav\tann\thi\nx\tspeech/bob/bob0.wav\tbob\tho\n"
    ),
    "corpus: a table of files that are not there": table("id\taudio\tspeaker\ttext\nx\tnope.wav\tann\thi\n"),
    "corpus: a command in wav.scp": kaldi("a sph2pipe -f wav a.sph |\n"),
    "corpus: noise without recordings": all_of(
        lambda: Path("noise").mkdir(), replace("recipe.yaml", "{kind: white}", "{kind: folder, path: noise}")
    ),
    "info: no audio": write("x.wav", "no audio"),
    "info: a recipe that is not valid": replace("recipe.yaml", "blocks: 1, emb", "blokcs: 1, emb"),
    "info: a folder of recipes, one not valid": all_of(
        lambda: Path("recipes").mkdir(), write("recipes/one.yaml", "sed: 1"), write("recipes/two.yaml", "seed: 1")
    ),
    "dataset: no such folder": replace("set.yaml", "path: whamr,", "path: nope,"),
    "dataset: half a tree": remove("whamr/wav8k/max/cv/s2_anechoic"),
    "dataset: a source that is missing": remove(f"whamr/wav8k/max/tt/s2_anechoic/{MIXTURE}.wav"),
    "dataset: a source of another length": sound(f"whamr/wav8k/max/tt/s2_anechoic/{MIXTURE}.wav", STEREO[:1000]),
    "dataset: another sample rate": sound(f"whamr/wav8k/max/tt/s1_anechoic/{MIXTURE}.wav", STEREO[:4000], 16000),
    "dataset: an utterance without transcript": replace("whamr/wsj0/all.dot", "050a0501", "050a0509"),
    "dataset: no transcripts": remove("whamr/wsj0/all.dot"),
    "dataset: metadata with code in it": tables(archive(Code())),
    "dataset: metadata that is no archive": tables(b"no archive"),
    "dataset: a table that leads out": tables(levels(), "../../etc/a.wav"),
    "dataset: a table that is missing": all_of(tables(b""), remove("tables/reverb_params_tr.csv")),
    "dataset: files that came from elsewhere": all_of(
        tables(levels()), replace("set.yaml", "path: made", "path: whamr")
    ),
    "dataset: a manifest that leads out": replace("set/data/test.jsonl", "dataset/wav8k", "dataset/../wav8k"),
    "dataset: a link that leads elsewhere": relink("set/data/dataset", "speech"),
    "dataset: it has moved": relink("set/data/dataset", "nowhere"),
    "report: a split that was not scored": scored(),
    "report: a system that was not scored": scored(),
    "report: a summary cut off": scored(summary="{"),
    "report: a recording that is not in the split": scored(recordings='{"id": "gone"}'),
    "report: metrics cut off": all_of(scored(), write("run/separator/metrics.jsonl", '{"step"')),
    "run: its recipe is broken": write("run/recipe.yaml", "seed: {"),
    "run: no mixtures": remove("run/data"),
    "run: one split missing": remove("run/data/dev.jsonl"),
    "run: no separator": remove("run/separator"),
    "run: no recogniser": remove("run/recognizer"),
    "run: the data changed": lambda: Path("run/data/train.jsonl").write_text(
        Path("run/data/train.jsonl").read_text().splitlines(True)[0]
    ),
    "run: a manifest cut off": cut("run/data/test.jsonl", 0.7),
    "run: a manifest that leads out": replace(
        "run/data/test.jsonl", '"audio":"test/test_00000/mix', '"audio":"../../mix'
    ),
    "run: another process at work": lambda: FileLock("run/.separator.lock").acquire(),
    "run: a stage record cut off": cut("run/separator/stage.json"),
    "run: a saved state cut off": cut("run/separator/state/step-2/model.safetensors"),
    "run: a mixture gone, training": remove("run/data/train/train_00000/mixture.flac"),
    "run: a mixture of one channel, training": sound("run/data/train/train_00000/mixture.flac", TONE),
    "run: a reference of another length, training": sound("run/data/train/train_00000/s1_early.flac", TONE[:1000]),
    "run: a mixture gone, separating": remove("run/data/test/test_00000/mixture.flac"),
    "run: no transcripts to learn from": lambda: Path("run/data/train.jsonl").write_text(
        re.sub('"text":"[^"]*",', "", Path("run/data/train.jsonl").read_text())
    ),
    "espnet: another class": replace("exp/asr/config.yaml", "encoder: transformer", "encoder: rnn"),
    "espnet: another task": lambda: Path("exp/asr/config.yaml").write_text("tts: tacotron2"),
    "espnet: a setting that is not known": replace("exp/asr/config.yaml", "  output_size: 16", "  new: 1"),
    "espnet: BPE tokens": replace("exp/asr/config.yaml", "token_type: char", "token_type: bpe"),
    "espnet: settings with code": write("exp/asr/config.yaml", "encoder: !!python/object/apply:os.system [touch ran]"),
    "espnet: weights missing": reweigh(lambda state: [state.pop("ctc.ctc_lo.bias"), state.pop("normalize.std")]),
    "espnet: a weight too many": reweigh(lambda state: state.update(extra=torch.zeros(1))),
    "espnet: a weight of another size": reweigh(lambda state: state.update({"ctc.ctc_lo.bias": torch.zeros(3)})),
    "espnet: weights cut off": cut("exp/asr/valid.acc.best.pth"),
    "espnet: weights with code": lambda: torch.save({"a": Code()}, "exp/asr/valid.acc.best.pth"),
    "espnet: no weights": lambda: torch.save({"epoch": 3}, "exp/asr/valid.acc.best.pth"),
    "espnet: several checkpoints": lambda: shutil.copy("exp/asr/valid.acc.best.pth", "exp/asr/valid.loss.best.pth"),
    "espnet: a zip that leads out": packed(
        "{files: {asr_model_file: ../a.pth}, yaml_files: {asr_train_config: c.yaml}}"
    ),
    "espnet: a zip without its files": packed(
        "{files: {asr_model_file: a.pth}, yaml_files: {asr_train_config: c.yaml}}"
    ),
    "model: weights cut off": cut("run/joint/model.safetensors"),
    "model: weights of another model": lambda: shutil.copy(
        "run/recognizer/model.safetensors", "run/separator/model.safetensors"
    ),
    "model: config.json cut off": cut("run/joint/config.json"),
    "model: bundled, weights cut off": all_of(in_the_box, cut("in_the_box/model.safetensors")),
    "model: bundled, config.json cut off": all_of(in_the_box, cut("in_the_box/config.json")),
    "model: bundled, for a run half trained": all_of(in_the_box, remove("run/joint"), remove("run/separator")),
    "model: no weights": remove("run/separator/model.safetensors"),
    "audio: an empty folder": lambda: Path("empty").mkdir(),
    "audio: an empty file": write("x.wav", ""),
    "audio: one channel, two needed": sound("x.wav", TONE),
    "audio: four channels, two needed": sound("x.wav", np.repeat(STEREO, 2, axis=1)),
    "audio: the reference channel silent": sound("x.wav", STEREO * [0, 1]),
    "audio: a silent channel chosen": sound("x.wav", np.c_[STEREO * [1, 0], TONE]),
    "audio: too short": sound("x.wav", STEREO[:100]),
    "audio: silent": sound("x.wav", STEREO * 0),
    "audio: NaN samples": sound("x.wav", STEREO * np.nan, subtype="FLOAT"),
    "audio: NaN samples late in a long recording": sound(
        "x.wav", np.r_[np.tile(STEREO, (40, 1)), STEREO * np.nan], subtype="FLOAT"
    ),
    "audio: truncated": cut("calls/one.wav"),
    "audio: one bad file among three": write("calls/bad.wav", "no audio"),
    "score: no recording in common": all_of(SAID, spoken("heard.stm", "c x 0 1 good", "d x 0 1 it")),
    "score: recordings in the column of speakers": all_of(SAID, spoken("heard.stm", "x a 0 1 good", "y b 0 1 it")),
    "score: ninety speakers": all_of(
        SAID, spoken("heard.stm", *(f"a s{number} {number} {number + 1} good" for number in range(90)))
    ),
    "score: another alphabet": all_of(
        SAID,
        spoken(
            "heard.stm",
            "a x 0 1 \u0434\u043e\u0431\u0440\u043e\u0435 \u0443\u0442\u0440\u043e",
            "b y 0 1 " + "\u0434\u0430 " * 9,
        ),
    ),
    "score: times in samples": all_of(SAID, spoken("heard.stm", "a x 0 480000 good morning", "b y 0 1 it rains")),
    "score: a reference without words": all_of(
        write("said.rttm", "SPEAKER a 1 0 1 <NA> <NA> ann <NA> <NA>\n"), spoken("heard.stm", "a x 0 1 hi")
    ),
    "score: text against audio": SAID,
    "score: another sample rate": all_of(sound("a.wav", TONE), sound("b.wav", TONE, 16000)),
    "score: another length": all_of(sound("a.wav", TONE), sound("b.wav", TONE[:7000])),
    "score: fewer estimates than speakers": all_of(
        sound("a_s1.wav", TONE), sound("a_s2.wav", TONE), sound("b.wav", TONE)
    ),
    "score: one bad estimate of two": all_of(
        lambda: Path("est").mkdir(), sound("est/one.wav", TONE), write("est/two.wav", "no audio")
    ),
    "score: results that are there already": all_of(
        SAID, lambda: Path("out").mkdir(), write("out/summary.json", "mine")
    ),
    "compare: other references": all_of(scores_of("x", 1.0), scores_of("y", 0.5)),
    "audio: results that are there already": all_of(lambda: Path("out").mkdir(), write("out/one_spk1.wav", "mine")),
    "info: an empty folder": lambda: Path("empty").mkdir(),
    "info: truncated audio": cut("calls/one.wav"),
    "info: a run whose recipe is broken": write("run/recipe.yaml", "seed: {"),
    "info: a stage record cut off": cut("run/separator/stage.json"),
    "info: a manifest cut off": cut("run/data/test.jsonl", 0.7),
    "info: weights cut off": cut("run/joint/model.safetensors", 0.01),
    "transcript: not JSON": write("t.json", "["),
    "transcript: JSON of something else": write("t.json", '{"words": "A"}'),
    "transcript: a segment without times": write("t.json", '[{"session_id": "a", "speaker": "b", "words": ""}]'),
    "transcript: times turned round": write("t.stm", "a 1 b 2 1 C\n"),
    "transcript: word times of other words": write(
        "t.json",
        '[{"session_id": "a", "speaker": "b", "start_time": 0, "end_time": 1, "words": "C D", "word_times": [[0, 1]]}]',
    ),
    "transcript: no UTF-8": lambda: Path("t.stm").write_bytes(b"a 1 b 0 1 caf\xe9"),
    "transcript: a TextGrid cut off": write(
        "t.TextGrid", '"ooTextFile"\n"TextGrid"\n0\n4\n<exists>\n2\n"IntervalTier"\n'
    ),
    "transcript: subtitles without times": write("t.srt", "1\nhello\n"),
    "transcript: text without times": write("t.txt", "a  spk1: HELLO\n"),
    "transcript: words asked of RTTM": write("t.rttm", "SPEAKER a 1 0 1 <NA> <NA> b <NA> <NA>\n"),
    "transcript: subtitles for two recordings": write("t.stm", "a 1 x 0 1 B\nb 1 x 0 1 B\n"),
    "transcript: a name that leads out": write("t.stm", "../../x 1 x 0 1 B\nb 1 x 0 1 B\n"),
    "transcript: one bad file among two": all_of(
        lambda: Path("texts").mkdir(), write("texts/bad.json", "["), write("texts/good.json", "[]")
    ),
}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, no bundled model but what a row makes, and a terminal wide enough for a line."""
    monkeypatch.setattr("sepasr_cli.bundled.FOLDER", Path("in_the_box"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.parametrize("case", read_cases(), ids=lambda case: case.name)
def test_one_clear_line(case: Case, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "--device mps" in case.command and torch.backends.mps.is_available():
        pytest.skip("this machine has the device")
    shutil.copytree(world, tmp_path / "here", symlinks=True)
    monkeypatch.chdir(tmp_path / "here")
    # A lock is held as long as there is a name for it.
    spoilt = SPOILS.get(case.name, lambda: None)()
    result = CliRunner().invoke(app, shlex.split(case.command))
    del spoilt
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    said = result.stderr.replace(f"{tmp_path / 'here'}/", "")
    assert result.exit_code == case.status, said
    assert "Traceback" not in said
    pattern = ".*".join(map(re.escape, case.line.split("...")))
    if "Usage: " in said:
        assert re.search(f"^│ {pattern} *│$", said, re.MULTILINE), said
    else:
        assert re.search(f"^sepasr: {pattern}$", said.splitlines()[-1]), said
        assert said.count("sepasr: ") == 1
    if case.name.startswith("recipe: "):
        assert not Path("new").exists()


def test_the_table_and_what_is_done_before_it_go_together() -> None:
    names = [case.name for case in read_cases()]
    assert len(names) == len(set(names)) > 90 and names.count("") == 0
    assert set(SPOILS) <= set(names)


def test_all_else_is_done_where_one_file_is_bad(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(world, tmp_path / "here", symlinks=True)
    monkeypatch.chdir(tmp_path / "here")
    Path("calls/bad.wav").write_text("no audio")
    result = CliRunner().invoke(app, shlex.split("separate calls --model run --out out"))
    assert result.exit_code == 1
    assert sorted(path.name for path in Path("out").glob("[!.]*")) == [
        f"{name}_spk{number}.wav" for name in ("one", "two") for number in (1, 2)
    ]
    assert "calls/bad.wav: not an audio file that can be read" in result.stderr


def test_earlier_work_is_back_where_a_restart_makes_nothing(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(world, tmp_path / "here", symlinks=True)
    monkeypatch.chdir(tmp_path / "here")
    before = Path("run/separator/model.safetensors").read_bytes()
    Path("run/data/train/train_00000/mixture.flac").unlink()
    result = CliRunner().invoke(app, shlex.split("pretrain-sep run --restart"))
    assert result.exit_code == 1 and "nothing was made, earlier work is back in its place" in result.stderr
    assert Path("run/separator/model.safetensors").read_bytes() == before
    assert json.loads(Path("run/separator/stage.json").read_text())["status"] == "finished"
    assert not Path("run/separator.1").exists()
