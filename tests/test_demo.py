"""The debug recipe end to end, as `make smoke` runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_debug_recipe_learns(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader")
    run = str(tmp_path / "run")

    def sepasr(*words: str) -> None:
        subprocess.run([sys.executable, "-m", "sepasr_cli", *words], cwd=REPOSITORY, check=True)

    sepasr("simulate", run, "--recipe", "recipes/debug.yaml")
    for command in ("pretrain-sep", "pretrain-asr", "joint-finetune"):
        sepasr(command, run)
    for command in ("separate", "transcribe", "score"):
        sepasr(command, run, "--split", "test")
    summary = json.loads((tmp_path / "run" / "scores" / "test" / "summary.json").read_text())
    assert summary["si_sdr_improvement"] > 3
    assert summary["wer"] < 0.6
