"""What is done stays done, as long as nothing that it was made from changes."""

from pathlib import Path

import pytest

from sepasr_cli.inference.inputs import Input
from sepasr_cli.inference.journal import Journal


@pytest.fixture
def items(tmp_path: Path) -> list[Input]:
    found = []
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.wav").write_text(name)
        found.append(Input(tmp_path / f"{name}.wav", name))
    return found


def test_what_is_left_is_what_was_not_noted(
    tmp_path: Path, items: list[Input], capsys: pytest.CaptureFixture[str]
) -> None:
    path, made = tmp_path / "new/.j.jsonl", tmp_path / "a.txt"
    made.write_text("x")
    Journal(path, {"model": 1}).note(items[0], [made], words="\u00e9")
    assert capsys.readouterr().err == ""
    journal = Journal(path, {"model": 1})
    assert journal.left(items) == items[1:]
    record = journal.record(items[0])
    assert record is not None and record["words"] == "\u00e9"
    assert capsys.readouterr().err == f"{tmp_path}/new: 1 of 3 files are done, going on\n"
    journal.close()
    assert not path.exists()


def test_what_has_changed_is_done_again(tmp_path: Path, items: list[Input]) -> None:
    path, made = tmp_path / ".j.jsonl", tmp_path / "made"
    made.write_text("x")
    journal = Journal(path, {"model": 1})
    for item in items:
        journal.note(item, [made])
    assert Journal(path, {"model": 2}).left(items) == items
    assert Journal(path, {"model": 1}).left([Input(items[0].path, "other")]) != []
    items[1].path.write_text("longer")
    assert Journal(path, {"model": 1}).left(items) == [items[1]]
    made.unlink()
    assert Journal(path, {"model": 1}).left(items) == items
    Journal(path, {"model": 1}, fresh=True)
    assert not path.exists()


def test_a_line_cut_off_costs_that_line_alone(tmp_path: Path, items: list[Input]) -> None:
    path = tmp_path / ".j.jsonl"
    journal = Journal(path, {})
    journal.note(items[0], [])
    journal.note(items[1], [])
    path.write_text(path.read_text()[:-20])
    journal = Journal(path, {})
    assert journal.left(items) == items[1:]
    journal.note(items[1], [])
    assert Journal(path, {}).left(items) == items[2:]


def test_nothing_is_kept_where_nothing_is_written(items: list[Input]) -> None:
    journal = Journal(None, {})
    journal.note(items[0], [])
    assert journal.left(items) == items
    journal.close()
