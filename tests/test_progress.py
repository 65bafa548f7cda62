"""What a command says while it works, in a log and on a terminal."""

import io

import pytest
from rich.console import Console

from sepasr_cli import progress


def test_a_log_has_its_first_and_last_line_and_few_between(capfd: pytest.CaptureFixture[str]) -> None:
    with progress.progress("train", 100, done=20) as advance:
        for step in range(80):
            advance(note=f"loss {step}")
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("train 21/100 loss 0 0s elapsed, ")
    assert lines[1] == "train 100/100 loss 79 0s elapsed, 0s left"


def test_a_log_says_now_and_then_how_far_it_is(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY", 0.0)
    with progress.progress("score", 3) as advance:
        advance()
        advance(2)
    assert [line.split()[:2] for line in capfd.readouterr().err.splitlines()] == [["score", "1/3"], ["score", "3/3"]]


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=screen, force_terminal=True, width=120))
    with progress.progress("train", 4, done=1) as advance:
        advance(note="loss 1.5")
        advance(2)
    assert "train" in screen.getvalue() and "4/4" in screen.getvalue() and "loss 1.5" in screen.getvalue()


def test_lines_are_printed_as_they_are(capfd: pytest.CaptureFixture[str]) -> None:
    """Names in square brackets are no markup, and long lines stay one line."""
    progress.say("a[bold]b[/bold] " + "x" * 200)
    progress.warn("[red]odd.wav is left out")
    assert capfd.readouterr().err == f"a[bold]b[/bold] {'x' * 200}\nwarning: [red]odd.wav is left out\n"


def test_one_step_needs_no_line(capfd: pytest.CaptureFixture[str]) -> None:
    with progress.progress("separate", 1) as advance:
        advance(note="done")
    assert capfd.readouterr().err == ""


def test_audio_has_a_factor_and_the_time_left(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with progress.audio_progress("separate", 100) as advance:
        advance(50.0)
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(progress, "LOG_EVERY", 0.0)
    with progress.audio_progress("separate", 100) as advance:
        advance(50.0)
    assert capfd.readouterr().err.strip() == "separate 50/100 s of audio, real-time factor 0.00, 0s left"


def test_audio_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=screen, force_terminal=True, width=120))
    with progress.audio_progress("separate", 3600.4) as advance:
        advance(1800.2)
        advance(1800.2)
    assert "3600/3600 s of audio" in screen.getvalue() and "real-time factor 0.00" in screen.getvalue()
