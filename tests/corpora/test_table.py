"""Tables of utterances."""

import json

import pytest

from sepasr_cli.corpora import Table
from sepasr_cli.corpora.table import read
from sepasr_cli.errors import SepasrError


@pytest.fixture
def folder(tmp_path, tone):
    tone(tmp_path / "clips/a.wav", 0.5)
    tone(tmp_path / "b.flac", 0.25)
    return tmp_path


def write(folder, *rows):
    path = folder / "table.tsv"
    path.write_text("\n".join("\t".join(row) for row in rows) + "\n")
    return Table(path=path)


def test_tab_separated(folder):
    header = ("id", "audio", "speaker", "text", "start", "end", "age")
    config = write(
        folder,
        header,
        ("u1", "clips/a.wav", "ann", 'Say "yes"', "0.1", "0.3", "7"),
        ("u2", str(folder / "b.flac"), "bob", "No"),
    )
    found = read(config)
    assert [(u.id, u.speaker, u.text, u.start, u.end) for u in found] == [
        ("u1", "ann", "SAY YES", 0.1, 0.3),
        ("u2", "bob", "NO", 0.0, None),
    ]
    assert found[0].audio == folder / "clips/a.wav"


def test_json_lines(folder):
    path = folder / "table.jsonl"
    rows = [
        {"id": 1, "audio": "clips/a.wav", "speaker": 7, "text": "Yes", "start": 0.1, "end": None},
        {"id": "u2", "audio": "b.flac", "speaker": "bob", "text": None},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read(Table(path=path, transcripts=False, text="basic"))
    assert [(u.id, u.speaker, u.text, u.duration) for u in found] == [("1", "7", "yes", 0.4), ("u2", "bob", None, 0.25)]


HEADER = ("id", "audio", "speaker", "text")


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([("id", "path", "speaker")], r"table.tsv: no column 'audio' \(found id, path, speaker\)"),
        ([("",)], r"table.tsv: no column 'id' \(found nothing\)"),
        ([HEADER, ("u", "b.flac", "", "x")], "table.tsv:2: 'speaker' is missing"),
        ([HEADER, ("u", "b.flac", "s", "x", "more")], "table.tsv:2: 5 cells found, the header has 4"),
        ([HEADER, ("u", "c.flac", "s", "x")], "c.flac: no such file"),
        ([HEADER, ("u", "b.flac", "s")], "table.tsv:2: 'u' has no transcript"),
        (
            [HEADER, ("u", "b.flac", "s", "x"), ("u", "b.flac", "s", "x")],
            "table.tsv:3: id 'u' is already used by .*:2;",
        ),
        (
            [(*HEADER, "start"), ("u", "b.flac", "s", "x", "soon")],
            "table.tsv:2: 'start': found 'soon', expected seconds",
        ),
        ([(*HEADER, "start"), ("u", "b.flac", "s", "x", "-1")], "'u' lasts from -1 to 0.25 s"),
        ([(*HEADER, "end"), ("u", "b.flac", "s", "x", "nan")], "'end': found 'nan', expected seconds"),
    ],
)
def test_errors(folder, rows, line):
    with pytest.raises(SepasrError, match=line):
        read(write(folder, *rows))


@pytest.mark.parametrize(("content", "line"), [("{", "1: not JSON"), ("3", "1: found 3, expected a record")])
def test_errors_of_json_lines(tmp_path, content, line):
    (tmp_path / "t.jsonl").write_text(content + "\n")
    with pytest.raises(SepasrError, match=f"t.jsonl:{line}"):
        read(Table(path=tmp_path / "t.jsonl"))


def test_a_table_that_is_missing_or_no_text(tmp_path):
    with pytest.raises(SepasrError, match=r"t.tsv: no such file"):
        read(Table(path=tmp_path / "t.tsv"))
    (tmp_path / "t.tsv").write_bytes(b"id\xff\xfe\n")
    with pytest.raises(SepasrError, match=r"t.tsv: not UTF-8 text"):
        read(Table(path=tmp_path / "t.tsv"))
