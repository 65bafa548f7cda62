"""`report`: what it writes where, what it refuses, and what goes on where one file is bad."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sepasr_cli.errors import ArgumentError, SepasrError
from sepasr_cli.reporting.collect import collect
from sepasr_cli.reporting.details import items
from sepasr_cli.rundir import RunDir
from sepasr_cli.stages.report import diagnose, report

MakeRun = Callable[..., RunDir]


def test_the_page_goes_into_the_first_run_and_is_made_anew(
    new_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = new_run(count=2)
    page = report([run.path])
    assert page == run.path / "report-test.html"
    first = page.read_text("utf-8")
    assert report([run.path]).read_text("utf-8") == first
    assert "2 recordings, 2 of them with sound" in capsys.readouterr().err
    assert [path.name for path in run.path.glob("*report*")] == ["report-test.html"]


def test_what_is_no_report_is_left_alone(new_run: MakeRun, tmp_path: Path) -> None:
    run = new_run(count=1)
    mine = tmp_path / "thesis.html"
    mine.write_text("<p>mine</p>")
    with pytest.raises(SepasrError, match=r"thesis.html: is there already and no report; give another file"):
        report([run.path], out=mine)
    with pytest.raises(SepasrError, match="is there already and no report"):
        report([run.path], out=tmp_path)
    assert mine.read_text() == "<p>mine</p>"
    with pytest.raises(ArgumentError, match="no run given"):
        report([])


def test_few_recordings_with_sound_all_in_the_table(new_run: MakeRun) -> None:
    run = new_run(count=4)
    text = report([run.path], recordings=1).read_text("utf-8")
    assert text.count('<details class="recording"') == 1 and text.count("<tr data-words=") == 4
    text = report([run.path], recordings=0).read_text("utf-8")
    assert "<audio" not in text and 'id="listen"' not in text and text.count("<tr data-words=") == 4


def test_plots(new_run: MakeRun, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = new_run(count=2)
    report([run.path], plots=tmp_path / "plots")
    names = {path.stem for path in (tmp_path / "plots").glob("*.png")}
    assert names == {path.stem for path in (tmp_path / "plots").glob("*.svg")}
    stages = {f"{stage}_{what}" for stage in ("separator", "recognizer", "joint") for what in ("loss", "dev")}
    assert names == stages | {"si_sdr_improvement", "wer", "wer_against_si_sdr"}


def test_bad_audio_is_named_where_it_should_be_heard(new_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    run = new_run(count=2, systems=("joint",))
    (run.data / "test/test_0.flac").write_bytes(b"damaged")
    (run.path / "separated/test/test_1_spk1.wav").unlink()
    text = report([run.path]).read_text("utf-8")
    said = capsys.readouterr().err
    assert (
        "warning: test_0: " in said
        and "test_0.flac: not an audio file" in said
        and "test_1_spk1.wav: no such file" in said
    )
    assert text.count("<audio ") == 8 and text.count('<p class="trouble">') == 2


def test_every_question_is_asked_of_every_column(new_run: MakeRun) -> None:
    run = new_run(count=6)
    columns = collect([run.path], "test")
    asked = diagnose(columns, items(columns))
    joint = [one.name for column, one in asked if column == "run joint"]
    cascade = [one.name for column, one in asked if column == "run cascade"]
    assert len(joint) == 6 and set(cascade) < set(joint) and len(cascade) == 4
    found = {(column, one.name) for column, one in asked if one.found}
    assert ("run cascade", "Words wrong though well separated") in found
    assert ("run joint", "Words wrong though well separated") not in found


def test_what_a_diagnosis_names_can_be_heard(new_run: MakeRun) -> None:
    """The cascade's words are equally bad everywhere; the three that are named come first in the manifest."""
    run = new_run(count=6, systems=("cascade",))
    text = report([run.path], recordings=5).read_text("utf-8")
    named = re.search(r"Words wrong though well separated.*?See (.*?)</p>", text, re.DOTALL)
    assert named is not None and re.findall(r'<a href="#recording-\d">(\w+)</a>', named[1]) == [
        "test_0",
        "test_1",
        "test_2",
    ]


def test_clipping_is_asked_of_what_is_heard(new_run: MakeRun) -> None:
    run = new_run(count=2, systems=("joint",))
    assert "0 of 6 signals clipped" in report([run.path]).read_text("utf-8")
    soundfile.write(run.path / "separated/test/test_1_spk1.wav", np.sign(np.sin(np.arange(8000) / 9)), 8000)
    assert "1 of 6 signals clipped" in report([run.path]).read_text("utf-8")
