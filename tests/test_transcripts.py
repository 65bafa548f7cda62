"""Transcripts are written and read without loss, by us and by MeetEval."""

from pathlib import Path
from typing import get_args

import meeteval
import pytest

from sepasr_cli import transcripts
from sepasr_cli.errors import SepasrError
from sepasr_cli.transcripts import Format, Segment

SEGMENTS = [
    Segment(session_id="m1", speaker="spk1", start_time=0.0, end_time=2.5, words="HELLO THERE"),
    Segment(session_id="m1", speaker="spk2", start_time=1.0625, end_time=3.0, words="NAÏVE CAFÉ"),
    Segment(session_id="m2", speaker="spk1", start_time=1e-05, end_time=7000.123456, words=""),
]


def test_seglst_survives(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    timed = SEGMENTS[0].model_copy(update={"word_times": ((0.0, 1.0), (1.5, 2.5))})
    transcripts.write(path, [timed, *SEGMENTS[1:]])
    assert transcripts.read(path) == [timed, *SEGMENTS[1:]]


def test_seglst_survives_meeteval(tmp_path: Path) -> None:
    pytest.importorskip("simplejson", reason="MeetEval reads JSON with simplejson, which its core does not install")
    path = tmp_path / "t.json"
    transcripts.write(path, SEGMENTS)
    theirs = meeteval.io.load(str(path), parse_float=float)
    keys = ("session_id", "speaker", "start_time", "end_time", "words")
    assert [{key: row[key] for key in keys} for row in theirs] == [
        segment.model_dump(include=set(keys)) for segment in SEGMENTS
    ]


def test_stm_survives_us_and_meeteval(tmp_path: Path) -> None:
    path = tmp_path / "t.stm"
    transcripts.write(path, SEGMENTS)
    assert transcripts.read(path) == SEGMENTS
    theirs = meeteval.io.STM.load(str(path), parse_float=float)
    assert [(r.filename, r.speaker_id, r.begin_time, r.end_time, r.transcript) for r in theirs] == [
        (s.session_id, s.speaker, s.start_time, s.end_time, s.words) for s in SEGMENTS
    ]


def test_ctm_and_rttm_are_read_by_meeteval(tmp_path: Path) -> None:
    transcripts.write(tmp_path / "t.ctm", SEGMENTS)
    words = list(meeteval.io.CTM.load(str(tmp_path / "t.ctm"), parse_float=float))
    assert [(w.filename, w.channel, w.begin_time, w.duration, w.word) for w in words[:2]] == [
        ("m1", "spk1", 0.0, 1.25, "HELLO"),
        ("m1", "spk1", 1.25, 1.25, "THERE"),
    ]
    transcripts.write(tmp_path / "t.rttm", SEGMENTS)
    turns = list(meeteval.io.RTTM.load(str(tmp_path / "t.rttm"), parse_float=float))
    assert [(t.filename, t.speaker_id, t.begin_time, t.duration) for t in turns[:2]] == [
        ("m1", "spk1", 0.0, 2.5),
        ("m1", "spk2", 1.062, 1.938),
    ]


def test_subtitles_and_text_keep_both_speakers(tmp_path: Path) -> None:
    srt, vtt, txt = (tmp_path / f"t.{kind}" for kind in ("srt", "vtt", "txt"))
    for path in (srt, vtt, txt):
        transcripts.write(path, SEGMENTS[:2])
    assert srt.read_text("utf-8").startswith("1\n00:00:00,000 --> 00:00:02,500\nspk1: HELLO THERE\n\n2\n00:00:01,062")
    assert vtt.read_text("utf-8").splitlines()[:4] == [
        "WEBVTT",
        "",
        "00:00:00.000 --> 00:00:02.500",
        "<v spk1>HELLO THERE",
    ]
    assert txt.read_text("utf-8") == "m1  spk1: HELLO THERE\nm1  spk2: NAÏVE CAFÉ\n"


def test_every_format_has_a_writer() -> None:
    assert set(transcripts.WRITERS) == set(get_args(Format))
    assert all(isinstance(write(SEGMENTS[:2]), str) for write in transcripts.WRITERS.values())


def test_names_with_blanks_stay_one_field(tmp_path: Path) -> None:
    path = tmp_path / "t.stm"
    transcripts.write(path, [SEGMENTS[0].model_copy(update={"session_id": "my file", "speaker": "Ann B"})])
    assert [(s.session_id, s.speaker) for s in transcripts.read(path)] == [("my_file", "Ann_B")]


def test_meetevals_own_keys_and_numbers_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('[{"session_id": 1, "speaker": 0, "start_time": 0, "end_time": "1.5", "words": "A", "channel": 3}]')
    assert transcripts.read(path) == [Segment(session_id="1", speaker="0", start_time=0, end_time=1.5, words="A")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "t.json",
            "{",
            "t.json: not JSON (Expecting property name enclosed in double quotes: line 1 column 2",
        ),
        ("t.json", '{"a": 1}', "t.json: expected a JSON list of segments (SegLST), one object each"),
        ("t.json", '[{"session_id": "a"}]', "t.json: segment 1: 'speaker' is missing (3 more); add it"),
        ("t.stm", "a 1 x 0", "t.stm:1: 4 fields found, expected session, channel, speaker, start, end, words"),
        ("t.stm", ";; note\na 1 x 3 2 B", "t.stm:2: end_time is 2.0, before start_time 3.0"),
        ("t.stm", "a 1 x zero 2 B", "t.stm:1: 'start_time': found 'zero', expected a number"),
        ("t.srt", "", "t.srt: cannot read srt; expected one of json, stm"),
        ("t.doc", "", "t.doc: unknown ending '.doc'; expected one of .json, .stm"),
    ],
)
def test_broken_transcripts_are_one_clear_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SepasrError) as caught:
        transcripts.read(tmp_path / name)
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(message)
    assert "\n" not in str(caught.value)


def test_subtitles_refuse_two_recordings(tmp_path: Path) -> None:
    with pytest.raises(SepasrError, match="SRT holds one recording, found 2; give --out a folder"):
        transcripts.write(tmp_path / "t.srt", SEGMENTS)
    assert not list(tmp_path.iterdir())
