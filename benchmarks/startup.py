"""How soon the commands answer: fresh processes, against `import torch` and a bare interpreter, in turn.

`sepasr --help`, and `sepasr transcribe` of a file of 5 s from a cold start: what it takes beyond the time of the model
itself, which is measured in this process, warm; and with the bundled model, where this copy of the package has it.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from measure import Row, alternately, parse, report

from sepasr_cli import audio, bundled
from sepasr_cli.features import FilterbankConfig
from sepasr_cli.inference.pipeline import Pipeline
from sepasr_cli.joint import JointModel
from sepasr_cli.recognition import Recognizer, RecognizerConfig, Vocabulary
from sepasr_cli.recognition.conformer import ConformerConfig
from sepasr_cli.separation import TFGridNet, TFGridNetConfig

#: Seconds allowed for the answer of --help, for transcribing beyond the model's own time, and with the bundled model.
HELP, TRANSCRIBE, BUNDLED = 0.3, 4.0, 6.0


def main() -> None:
    """Measure and print."""
    options = parse(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        model, recording = _prepare(Path(folder))
        pipeline = Pipeline(model)
        words = [sys.executable, "-m", "sepasr_cli", "transcribe", str(recording), "--device", "cpu"]
        cold = {"bundled": lambda: _run(words, options.threads)} if bundled.is_there() else {}
        seconds = alternately(
            cold
            | {
                "help": lambda: _run([sys.executable, "-m", "sepasr_cli", "--help"], options.threads),
                "torch": lambda: _run([sys.executable, "-c", "import torch"], options.threads),
                "bare": lambda: _run([sys.executable, "-c", "pass"], options.threads),
                "transcribe": lambda: _run([*words, "--model", folder], options.threads),
                "model": lambda: pipeline.transcribe(pipeline.prepare(recording), "recording"),
            },
            options,
        )
    rows = [
        Row("--help within the time allowed", HELP, seconds["help"], must=1),
        Row("--help against import torch", seconds["torch"], seconds["help"]),
        Row("--help against a bare interpreter", seconds["bare"], seconds["help"]),
        Row("transcribe 5 s, cold, less the model", TRANSCRIBE, seconds["transcribe"] - seconds["model"], must=1),
        Row("transcribe 5 s, cold, in all", TRANSCRIBE + seconds["model"], seconds["transcribe"]),
        *(Row("transcribe 5 s, cold, bundled model", BUNDLED, seconds[name], must=1) for name in cold),
    ]
    report("startup", rows)


def _prepare(folder: Path) -> tuple[JointModel, Path]:
    """A model of small size, saved, and a recording of 5 s of noise."""
    torch.manual_seed(0)
    separator = TFGridNet(TFGridNetConfig(blocks=2, embedding=24, lstm=64))
    config = RecognizerConfig(
        features=FilterbankConfig(),
        encoder=ConformerConfig(blocks=4, size=144, feed_forward=576),
        vocabulary=Vocabulary.train(["ABCDEFGHIJKLMNOPQRSTUVWXYZ '"], "characters"),
    )
    model = JointModel.join(separator, Recognizer(config)).eval()
    model.save_pretrained(folder)
    noise = np.random.default_rng(0).standard_normal((2, 5 * 16000)).astype(np.float32)
    recording = folder / "recording.wav"
    audio.write(recording, 0.1 * noise, 16000)
    return model, recording


def _run(command: Sequence[str], threads: int) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)


if __name__ == "__main__":
    main()
