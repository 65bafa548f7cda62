"""Inputs get distinct names, results are not taken for inputs, and one failure stops nothing."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from sepasr_cli.errors import SepasrError
from sepasr_cli.inference.inputs import Input, Outcome, collect, work_on


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(10), 8000)


def test_a_folders_tree_is_kept(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav", tmp_path / "sub/b.flac", tmp_path / ".hidden/c.wav")
    (tmp_path / "notes.txt").write_text("x")
    files, failures = collect([tmp_path])
    assert [(item.path, item.name) for item in files] == [
        (tmp_path / "a.wav", "a"),
        (tmp_path / "sub/b.flac", "sub/b"),
    ]
    assert failures == {}


def test_equal_names_are_told_apart(tmp_path: Path) -> None:
    x, y = tmp_path / "x", tmp_path / "y"
    touch(x / "a.wav", x / "a.flac", y / "a.wav", x / "b.wav")
    assert [item.name for item in collect([x])[0]] == ["a.flac", "a.wav", "b"]
    assert [item.name for item in collect([x, y])[0]] == ["x/a.flac", "x/a.wav", "x/b", "y/a"]
    assert [item.name for item in collect([x / "a.wav", y / "a.wav"])[0]] == ["x/a.wav", "y/a.wav"]
    assert [item.name for item in collect([x / "a.wav", x / "a.wav", x])[0]] == ["a.wav", "a.flac", "b"]


def test_results_below_an_input_are_no_inputs(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav", tmp_path / "separated/a_spk1.wav")
    assert [item.name for item in collect([tmp_path], tmp_path / "separated")[0]] == ["a"]
    assert len(collect([tmp_path], tmp_path / "elsewhere")[0]) == 2


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav")
    (tmp_path / "empty").mkdir()
    files, failures = collect([tmp_path / "no.wav", tmp_path / "a.wav", tmp_path / "empty"])
    assert [item.name for item in files] == ["a"]
    assert failures[str(tmp_path / "no.wav")] == f"{tmp_path}/no.wav: no such file; check the path"
    assert failures[str(tmp_path / "empty")].startswith(f"{tmp_path}/empty: holds no audio; expected files ending in")


def test_a_run_directory_needs_its_split(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("seed: 0")
    with pytest.raises(SepasrError, match="a run directory; say which of its mixtures are meant, such as --split test"):
        collect([tmp_path])


def test_failures_stop_nothing_and_are_reported_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    done = []

    def work(item: Input) -> None:
        if item.name == "1":
            raise SepasrError("one line")
        if item.name == "2":
            raise PermissionError(13, "Permission denied")
        done.append(item.name)

    failures = work_on("try", [Input(Path(f"{n}.wav"), str(n)) for n in range(4)], work)
    assert done == ["0", "3"]
    assert failures == {
        "1.wav": "1.wav: one line",
        "2.wav": "2.wav: Permission denied; check the folder and its rights",
    }
    with pytest.raises(SepasrError) as caught:
        Outcome(4, failures=failures).check()
    assert str(caught.value) == "2 of 4 files failed: 1.wav, 2.wav"
    assert "1.wav: one line\n2.wav: Permission denied" in capsys.readouterr().err
    with pytest.raises(SepasrError, match=r"^1\.wav: one line$"):
        Outcome(1, failures={"1.wav": "1.wav: one line"}).check()
    Outcome(4).check()
