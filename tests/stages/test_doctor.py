"""`doctor`: all is well here; what is missing is named with what it is for and how to get it."""

import json
import sys

import pytest
from typer.testing import CliRunner

from sepasr_cli import doctor
from sepasr_cli.cli import app


def test_all_that_is_needed_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    diagnosis = doctor()
    diagnosis.check()
    assert {"torch", "soundfile", "PyYAML", "typing-extensions"} <= {one.package for one in diagnosis.needed}
    assert all(one.version for one in diagnosis.needed)
    assert diagnosis.devices[0].startswith("cpu: ") and diagnosis.audio.startswith("libsndfile ")
    said = capsys.readouterr().out
    assert f"Python {diagnosis.python}" in said and "device cpu: " in said


def test_what_is_optional_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pesq", None)  # what Python itself does for a module that must not be found
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    line = next(line for line in result.stdout.splitlines() if line.startswith("  pesq "))
    assert "pip install 'sepasr[pesq]' (PESQ in score)" in line


def test_what_is_needed_is_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 1
    found = {one["package"]: one for one in json.loads(result.stdout)["needed"]}
    assert found["pyroomacoustics"]["trouble"] and found["pyroomacoustics"]["used_by"] == "simulate"
    assert found["numpy"]["trouble"] is None
    assert "sepasr: pyroomacoustics: " in result.stderr
    assert "run: pip install 'pyroomacoustics>=0.7.3'" in result.stderr
