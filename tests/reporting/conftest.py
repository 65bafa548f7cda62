"""Runs that were scored: a joint system that does well, a cascade that does badly, and a speaker with a cruel name."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sepasr_cli import transcripts
from sepasr_cli.manifest import Mixture, Noise, Room, Separated, Source, write_manifest
from sepasr_cli.recipe import load_recipe
from sepasr_cli.rundir import RunDir
from sepasr_cli.stages.score import score
from sepasr_cli.transcripts import Segment

RATE = 8000
CRUEL = '<script>alert("x")</script>'
SAID = {"ann": "GOOD MORNING", "bob": f"{CRUEL} & more"}
#: What each system makes of the words, and how much noise it leaves.
SYSTEMS = {
    "joint": ({"spk1": SAID["bob"], "spk2": "GOOD MORNING"}, 0.01),
    "cascade": ({"spk1": "no", "spk2": "GO"}, 0.02),
}

MakeRun = Callable[..., RunDir]


def make_run(path: Path, count: int = 4, seed: int = 0, systems: tuple[str, ...] = ("joint", "cascade")) -> RunDir:
    """A run of so many test mixtures with records of its training, separated, transcribed and scored."""
    run = RunDir(path)
    path.mkdir(parents=True)
    recipe = path.with_suffix(".yaml")
    recipe.write_text("sample_rate: 8000\nscoring: {text: none}\n")
    run.write_recipe(load_recipe(recipe))
    for split, number in (("train", 6), ("test", count)):
        write_manifest(run.manifest(split), [_mixture(run.data, split, place, seed) for place in range(number)])
    for stage, key in (
        ("separator", "si_sdr_improvement"),
        ("recognizer", "greedy_accuracy"),
        ("joint", "greedy_accuracy"),
    ):
        _train(run.path / stage, stage, key)
    for system in systems:
        _use(run, system, count)
    return run


def _mixture(data: Path, split: str, number: int, seed: int) -> Mixture:
    draw = np.random.default_rng([seed, number, len(split)])
    level = np.repeat(draw.random((2, 20)), 400, axis=1)
    signals = 0.2 * level * draw.standard_normal(level.shape)
    name = f"{split}_{number}"
    (data / split).mkdir(parents=True, exist_ok=True)
    soundfile.write(data / split / f"{name}.flac", np.stack([signals.sum(0), signals[0]]).T, RATE)
    sources = []
    for (speaker, text), signal in zip(SAID.items(), signals, strict=True):
        file = f"{split}/{name}_{speaker}.flac"
        soundfile.write(data / file, signal, RATE)
        sources.append(Source(speaker=speaker, text=text, end=0.7 + 0.02 * number, direct=file, early=file, image=file))
    room = Room(
        size=(4, 5, 3), t60=0.3 + 0.01 * number + 0.1 * seed, microphones=((2, 2, 1),), sources=((1, 1, 1), (3, 4, 1))
    )
    noise = Noise(kind="white", snr_db=20 + number)
    return Mixture(
        id=name,
        audio=f"{split}/{name}.flac",
        sample_rate=RATE,
        duration=1,
        sources=tuple(sources),
        room=room,
        noise=noise,
    )


def _train(folder: Path, kind: str, key: str) -> None:
    folder.mkdir()
    lines = [{"step": step, "split": "train", "loss": 10 / (step + 1)} for step in range(1, 9)]
    lines += [{"step": step, "split": "dev", "loss": 5 / step, key: 0.1 * step} for step in (4, 8)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "config.json").write_text(json.dumps({"kind": kind, "steps": 8, "dev": {key: 0.8}}))
    (folder / "stage.json").write_text(json.dumps({"status": "finished"}))
    (folder / "model.safetensors").write_bytes(b"")


def _use(run: RunDir, system: str, count: int) -> None:
    """Write what `separate` and `transcribe` would, the default folder for the joint system, and score it."""
    folder = "test" if system == "joint" else f"test-{system}"
    words, noise = SYSTEMS[system]
    made = run.path / "separated" / folder
    made.mkdir(parents=True)
    listed, segments = [], []
    for number in range(count):
        name = f"test_{number}"
        for place, speaker in enumerate(("bob", "ann"), 1):
            signal, _ = soundfile.read(run.data / f"test/{name}_{speaker}.flac")
            extra = noise * (1 + 0.1 * number) * np.random.default_rng(place).standard_normal(len(signal))
            soundfile.write(made / f"{name}_spk{place}.wav", signal + extra, RATE)
        listed.append(Separated(id=name, audio=(f"{name}_spk1.wav", f"{name}_spk2.wav")))
        segments += [
            Segment(session_id=name, speaker=label, start_time=0, end_time=1, words=text)
            for label, text in words.items()
        ]
    write_manifest(made / "separated.jsonl", listed)
    transcripts.write(run.path / "transcripts" / folder / "transcripts.json", segments)
    score(run.path, system=None if system == "joint" else system)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run with both systems; not to be changed."""
    return make_run(tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run of the joint system on other mixtures of the same ids; not to be changed."""
    return make_run(tmp_path_factory.mktemp("runs") / "second", count=3, seed=1, systems=("joint",))


@pytest.fixture
def new_run(tmp_path: Path) -> MakeRun:
    """Makes runs that a test may spoil."""
    return lambda **keywords: make_run(tmp_path / "run", **keywords)
