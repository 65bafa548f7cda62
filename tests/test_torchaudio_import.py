"""torchaudio and what imports it work beside any PyTorch, and nothing heavy is imported before it is needed."""

import json
import os
import subprocess
import sys

import pytest


def run(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_transformers_after_sepasr() -> None:
    """The import of the SSL models' module is what failed beside a CPU-only PyTorch."""
    out = run(
        "import sepasr_cli\nimport transformers\nfrom transformers import WavLMModel\nimport torch, torchaudio\n"
        "print(torchaudio.functional.resample(torch.ones(1, 160), 16000, 8000).shape[-1])"
    )
    assert out.split() == ["80"]


def test_torchaudio_alone_and_installing_twice() -> None:
    out = run(
        "import sys\nfrom sepasr_cli import _torchaudio_import as ours\nours.install()\nours.install()\n"
        "print(sum(isinstance(finder, ours._Finder) for finder in sys.meta_path))\n"
        "import torchaudio.transforms\nours.install()"
    )
    assert out.split() == ["1"]


HEAVY = ("torch", "torchaudio", "transformers", "scipy", "accelerate", "pyroomacoustics", "numpy")


@pytest.mark.parametrize(
    "script",
    [
        "import sepasr_cli; dir(sepasr_cli)",
        "import sepasr_cli.cli",
        "import sys; sys.argv = ['sepasr', '--help']; import sepasr_cli.cli; sepasr_cli.cli.main()",
        "import sys; sys.argv = ['sepasr', 'transcribe', '--help']; import sepasr_cli.cli; sepasr_cli.cli.main()",
        "import sys; sys.argv = ['sepasr', '--version']; import sepasr_cli.cli; sepasr_cli.cli.main()",
    ],
)
def test_nothing_heavy_is_imported_before_a_command_runs(script: str) -> None:
    out = run(
        "import atexit, json, sys\n"
        f"atexit.register(lambda: print(json.dumps([name for name in {HEAVY} if name in sys.modules])))\n" + script
    )
    assert json.loads(out.splitlines()[-1]) == []
