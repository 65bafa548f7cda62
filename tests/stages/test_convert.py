"""`convert`: files, folders and trees of them, from every format into every other."""

from pathlib import Path
from typing import get_args

import pytest

from sepasr_cli import convert, transcripts
from sepasr_cli.errors import SepasrError
from sepasr_cli.transcripts import Format, Segment

SEGMENTS = [
    Segment(session_id="a", speaker="ann", start_time=0, end_time=2, words="SO IT", word_times=((0, 1), (1, 2))),
    Segment(session_id="a", speaker="bob", start_time=1, end_time=3, words="GOES ON", word_times=((1, 2), (2, 3))),
]
TIMED = [kind for kind in get_args(Format) if kind not in ("rttm", "txt")]


@pytest.mark.parametrize("first", TIMED)
@pytest.mark.parametrize("second", TIMED)
def test_every_format_becomes_every_other(tmp_path: Path, first: Format, second: Format) -> None:
    start, end = tmp_path / f"a.{first}", tmp_path / f"out/a.{second}"
    transcripts.write(start, SEGMENTS)
    outcome = convert([start], out=end)
    outcome.check()
    assert outcome.written == [end]
    found = [(one.session_id, one.speaker, one.start_time, one.end_time, one.words) for one in transcripts.read(end)]
    assert found == [("a", "ann", 0.0, 2.0, "SO IT"), ("a", "bob", 1.0, 3.0, "GOES ON")]


def test_a_tree_is_mirrored_in_several_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = tmp_path / "texts"
    other = [one.model_copy(update={"session_id": "sub/b"}) for one in SEGMENTS]
    for name, segments in (("a.json", SEGMENTS), ("sub/b.srt", other), ("sub/.hidden.srt", other)):
        transcripts.write(texts / name, segments)
    (texts / "stage.json").write_text("{}")
    (texts / "notes.txt").write_text("mine")
    outcome = convert([texts], out=tmp_path / "out", format=["rttm,txt", "textgrid"])
    outcome.check()
    made = sorted(path.relative_to(tmp_path / "out").as_posix() for path in outcome.written)
    assert made == ["a.TextGrid", "a.rttm", "a.txt", "sub/b.TextGrid", "sub/b.rttm", "sub/b.txt"]
    assert {one.session_id for one in transcripts.read(tmp_path / "out/sub/b.rttm")} == {"sub/b"}
    said = capsys.readouterr().err
    assert "RTTM does not keep the words of 4 segments (left out); the word times of 2 segments (left out)" in said
    assert (
        "plain text does not keep the times of 4 segments (each speaker's words are one line); the overlap of 2" in said
    )
    assert "TextGrid does not keep" not in said


def test_several_recordings_in_one_file_are_parted_where_they_must_be(tmp_path: Path) -> None:
    both = [*SEGMENTS, *(one.model_copy(update={"session_id": "sub/b"}) for one in SEGMENTS)]
    transcripts.write(tmp_path / "all.json", both)
    outcome = convert([tmp_path / "all.json"], out=tmp_path / "out", format="srt,stm")
    names = [path.relative_to(tmp_path / "out").as_posix() for path in outcome.written]
    assert names == ["all.stm", "all/a.srt", "all/sub/b.srt"]
    again = convert([tmp_path / "out/all"], out=tmp_path / "again.json")
    assert [one.model_copy(update={"word_times": None}) for one in both] == again.segments


def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    both = [*SEGMENTS, SEGMENTS[0].model_copy(update={"session_id": "../../x"})]
    transcripts.write(tmp_path / "in/all.json", both)
    outcome = convert([tmp_path / "in/all.json"], out=tmp_path / "in/out", format="srt")
    with pytest.raises(SepasrError, match=r"path 'all/\.\./\.\./x\.srt' leads out of"):
        outcome.check()
    assert not (tmp_path / "in/x.srt").exists() and outcome.written == []


def test_what_cannot_be_is_refused_and_the_rest_done(tmp_path: Path) -> None:
    transcripts.write(tmp_path / "a.json", SEGMENTS)
    transcripts.write(tmp_path / "b.txt", SEGMENTS)
    transcripts.write(tmp_path / "c.rttm", SEGMENTS)
    (tmp_path / "d.json").write_text("{")
    inputs = [tmp_path / name for name in ("a.json", "b.txt", "c.rttm", "d.json", "e.json")]
    outcome = convert(inputs, out=tmp_path / "out", format="srt")
    assert outcome.written == [tmp_path / "out/a.srt"]
    reasons = " ".join(outcome.failures.values())
    assert "b.txt: plain text holds no times, SRT is about them; expected another format" in reasons
    assert "c.rttm: holds no words, SRT is about them; expected a transcript with words" in reasons
    assert "d.json: not JSON" in reasons and "e.json: no such file" in reasons
    with pytest.raises(SepasrError, match="4 of 5 files failed"):
        outcome.check()


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    transcripts.write(tmp_path / "a.json", SEGMENTS)
    (tmp_path / "a.srt").write_text("mine")
    with pytest.raises(SepasrError, match=r"a\.srt: exists already; pass --overwrite"):
        convert([tmp_path / "a.json"], out=tmp_path / "a.srt")
    assert convert([tmp_path / "a.json"], out=tmp_path, format="srt").written == []
    assert (tmp_path / "a.srt").read_text() == "mine"
    convert([tmp_path / "a.json"], out=tmp_path / "a.srt", overwrite=True).check()
    assert (tmp_path / "a.srt").read_text().startswith("1\n")
