"""A finished run directory in small: mixtures with references, and models with random weights."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sepasr_cli.joint import JointModel
from sepasr_cli.manifest import Mixture, Source, write_manifest
from sepasr_cli.recipe import load_recipe
from sepasr_cli.rundir import RunDir

RATE = 8000


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
    soundfile.write(folder / f"test/{name}.flac", np.stack([signals.sum(0), signals[0], signals[1]]).T, RATE)
    sources = []
    for speaker, signal in zip(("ann", "bob"), signals, strict=True):
        file = f"test/{name}_{speaker}.flac"
        soundfile.write(folder / file, signal, RATE)
        text = f"ABC {number}" if texts else None
        sources.append(Source(speaker=speaker, text=text, end=1.0, direct=file, early=file, image=file))
    return Mixture(id=name, audio=f"test/{name}.flac", sample_rate=RATE, duration=1.0, sources=tuple(sources))
