"""The command line: help, arguments, exit statuses, and that a command does what its function does."""

import inspect
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import huggingface_hub.constants
import pytest
import typer
from typer.testing import CliRunner

import sepasr_cli
from sepasr_cli import cli

COMMANDS = (
    "simulate",
    "pretrain-sep",
    "pretrain-asr",
    "pretrain-lm",
    "joint-finetune",
    "separate",
    "transcribe",
    "convert",
    "import-espnet",
    "score",
    "report",
    "compare",
    "info",
    "doctor",
)
FUNCTIONS = [name.replace("-", "_") for name in COMMANDS]


def heed_ctrl_c() -> None:
    """Undo what a shell does to work in the background, which then would not hear of Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")

    def invoke(*arguments: str):
        return CliRunner().invoke(cli.app, arguments)

    return invoke


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(invoke, command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert f"sepasr {command} " in result.stdout.split("Example")[1]


def test_help_lists_the_commands(invoke) -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    assert all(f" {command} " in result.stdout for command in COMMANDS)
    assert invoke().exit_code == 2 and "simulate" in invoke().output


@pytest.mark.parametrize("how", [[sys.executable, "-m", "sepasr_cli"], [str(Path(sys.executable).with_name("sepasr"))]])
def test_both_ways_to_start_it(how: list[str]) -> None:
    done = subprocess.run([*how, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"sepasr {sepasr_cli.__version__}\n", "")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_flag_is_the_keyword_of_the_function(name: str) -> None:
    """`--set` is `overrides`; every other flag has its keyword's name, and says nothing else when left out."""
    function = getattr(import_module(f"sepasr_cli.stages.{name}"), name)
    keywords = inspect.signature(function).parameters
    command = inspect.signature(getattr(cli, name)).parameters
    assert list(command) == list(keywords)
    group = typer.main.get_command(cli.app)
    for option in group.commands[name.replace("_", "-")].params:  # type: ignore[attr-defined]
        flag = "--set" if option.name == "overrides" else f"--{option.name.replace('_', '-')}"
        assert option.param_type_name == "argument" or flag in option.opts


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_package_has_the_functions(name: str) -> None:
    function = getattr(sepasr_cli, name)
    assert callable(function) and function.__module__ == f"sepasr_cli.stages.{name}"
    assert name in dir(sepasr_cli) and name in sepasr_cli.__all__


def test_the_package_has_nothing_else() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'separat'"):
        sepasr_cli.separat  # noqa: B018
    assert not hasattr(sepasr_cli, "train")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["simulate"],
        ["simulate", "run", "--worker", "2"],
        ["simulate", "run", "--workers", "0"],
        ["simulate", "run", "--workers", "two"],
        ["simulate", "run", "--shard", "3/2"],
        ["simulate", "run", "--shard", "2"],
        ["pretrain-sep", "run", "--device", "gpu"],
        ["pretrain-sep", "run", "--max-minutes", "-1"],
        ["transcribe"],
        ["convert", "a.json"],
        ["transcribe", "a.wav", "--beam", "0"],
        ["transcribe", "a.wav", "--decoding", "best"],
        ["separate", "a.wav", "--system", "both"],
        ["score", "run", "--examples", "-1"],
        ["report"],
        ["report", "run", "--recordings", "-1"],
    ],
    ids=" ".join,
)
def test_wrong_arguments_are_status_2(invoke, arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr and result.stdout == ""


def test_an_argument_that_is_read_later_is_status_2_too(invoke, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("")
    result = invoke("simulate", str(tmp_path / "run"), "--recipe", str(recipe), "--set", "seed")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "sepasr: --set 'seed': expected KEY=VALUE, such as separation.blocks=4\n"
    result = invoke("transcribe", "a.wav", "--out", "texts", "--format", "srt,doc")
    assert (result.exit_code, result.stdout) == (2, "") and "--format 'doc' is unknown" in result.stderr


def test_an_error_is_one_line_and_status_1(invoke, tmp_path: Path) -> None:
    result = invoke("simulate", str(tmp_path / "run"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"sepasr: {tmp_path}/run: no such run directory; `sepasr simulate {tmp_path}/run --recipe RECIPE` makes one\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("order", [["--debug", "simulate", "nope"], ["simulate", "nope", "--debug"]])
def test_debug_shows_the_traceback_before_the_line(invoke, order: list[str]) -> None:
    result = invoke(*order)
    assert result.exit_code == 1
    assert result.stderr.startswith("Traceback (most recent call last):")
    assert result.stderr.splitlines()[-1].startswith("sepasr: nope: no such run directory")


@pytest.mark.parametrize("order", [["--offline", "simulate", "nope"], ["simulate", "nope", "--offline"]])
def test_offline_asks_no_network(invoke, order: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    invoke(*order)
    assert huggingface_hub.constants.HF_HUB_OFFLINE and os.environ["HF_HUB_OFFLINE"] == "1"


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let the command meet an error that no test can bring about in earnest."""

    def stage(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("sepasr_cli.stages.simulate.simulate", stage)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (PermissionError(13, "Permission denied", "/root/x"), 1, "/root/x: Permission denied; check the path and its"),
        (OSError("odd"), 1, "odd; check the path and its rights"),
        (MemoryError(), 1, "out of memory; take a smaller batch_size"),
        (KeyboardInterrupt(), 130, "interrupted; run the command again to go on"),
        (sepasr_cli.cli.SepasrError("two\nlines"), 1, "two lines"),
    ],
)
def test_other_errors_are_one_line_too(
    invoke, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, line: str
) -> None:
    raising(monkeypatch, error)
    result = invoke("simulate", "run")
    assert result.exit_code == status
    assert result.stderr.startswith(f"sepasr: {line}") and result.stderr.count("\n") == 1


@pytest.mark.parametrize("debug", [False, True])
def test_a_fault_of_ours_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], debug: bool
) -> None:
    raising(monkeypatch, ZeroDivisionError("division by zero"))
    monkeypatch.setattr(sys, "argv", ["sepasr", *["--debug"] * debug, "simulate", "run"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == (
        "sepasr: ZeroDivisionError: division by zero; a fault of sepasr, please report it with what --debug shows"
    )
    assert len(lines) > 1 if debug else len(lines) == 1


def test_ctrl_c_is_status_130_and_one_line(tmp_path: Path) -> None:
    """A corpus in a pipe that nobody writes to keeps the command waiting."""
    os.mkfifo(tmp_path / "table.tsv")
    (tmp_path / "recipe.yaml").write_text("corpora: {train: [{kind: table, path: table.tsv}]}")
    process = subprocess.Popen(
        [sys.executable, "-m", "sepasr_cli", "simulate", "run", "--recipe", "recipe.yaml"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
    )
    # Opens as soon as the command does.
    with (tmp_path / "table.tsv").open("w"):
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "sepasr: interrupted; run the command again to go on\n")


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-m", "sepasr_cli", "--help"], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert b"Traceback" not in done.stderr
