"""Every format is read back with all that it keeps, by us and by MeetEval; what it does not keep is said."""

from decimal import Decimal
from pathlib import Path
from typing import get_args

import meeteval
import pytest

from sepasr_cli import transcripts
from sepasr_cli.errors import ArgumentError, SepasrError
from sepasr_cli.transcripts import FORMATS, Format, Segment, lost

SEGMENTS = [
    Segment(session_id="m1", speaker="spk1", start_time=0.0, end_time=2.5, words="HELLO THERE"),
    Segment(session_id="m1", speaker="spk2", start_time=1.0625, end_time=3.0, words="NAÏVE CAFÉ"),
    Segment(session_id="m2", speaker="spk1", start_time=1e-05, end_time=7000.123456, words=""),
    Segment(session_id="m2", speaker="spk2", start_time=10, end_time=20.1, words="<b> & \"SO\" ;; 'IT' --> IS"),
]
WITHOUT = {"word_times": None, "word_confidences": None}


def saved(tmp_path: Path, segments: list[Segment], kind: Format) -> Path:
    path = tmp_path / f"m1{transcripts.ending(kind)}"
    transcripts.write(path, segments)
    return path


def test_seglst_keeps_everything(tmp_path: Path, meeting: list[Segment]) -> None:
    segments = [*meeting, *SEGMENTS, SEGMENTS[0].model_copy(update={"session_id": "my file", "speaker": "Ann B."})]
    path = saved(tmp_path, segments, "json")
    assert transcripts.read(path) == segments
    assert lost(segments, "json") == []


def test_seglst_survives_meeteval(tmp_path: Path, meeting: list[Segment]) -> None:
    pytest.importorskip("simplejson", reason="MeetEval reads JSON with simplejson, which its core does not install")
    path = saved(tmp_path, meeting + SEGMENTS, "json")
    theirs = meeteval.io.load(str(path), parse_float=float)
    assert [Segment.model_validate(row) for row in theirs] == meeting + SEGMENTS
    meeteval.io.SegLST(list(theirs)).dump(tmp_path / "theirs.json")
    assert transcripts.read(tmp_path / "theirs.json") == meeting + SEGMENTS


@pytest.mark.parametrize("parse_float", [float, Decimal])
def test_stm_survives_us_and_meeteval(tmp_path: Path, parse_float: type) -> None:
    path = saved(tmp_path, SEGMENTS, "stm")
    assert transcripts.read(path) == SEGMENTS
    theirs = meeteval.io.STM.load(str(path), parse_float=parse_float)
    assert [(r.filename, r.speaker_id, float(r.begin_time), float(r.end_time), r.transcript) for r in theirs] == [
        (s.session_id, s.speaker, s.start_time, s.end_time, s.words) for s in SEGMENTS
    ]
    theirs.dump(tmp_path / "theirs.stm")
    assert transcripts.read(tmp_path / "theirs.stm") == SEGMENTS


def test_ctm_survives_us_and_meeteval(tmp_path: Path, meeting: list[Segment]) -> None:
    """Also a word that begins at a whole second, where MeetEval takes the channel for a number."""
    whole = Segment(session_id="m1", speaker="ben", start_time=10, end_time=11, words="SO", word_times=((10, 11),))
    path = saved(tmp_path, [*meeting, whole], "ctm")
    theirs = list(meeteval.io.CTM.load(str(path)))
    assert [(w.filename, w.channel, float(w.begin_time), float(w.begin_time + w.duration), w.word) for w in theirs] == [
        ("m1", "anna", 0.1, 1.1, "HELLO"),
        ("m1", "anna", 1.3, 2.3, "THERE"),
        ("m1", "ben", 1.062, 2.181, "NAÏVE"),
        ("m1", "ben", 2.181, 3.3, "CAFÉ"),
        ("m1", "anna", 4.1, 5.25, "BYE"),
        ("m1", "ben", 10.0, 11.0, "SO"),
    ]
    assert [w.confidence for w in theirs[:3]] == ["0.500", "0.987654321", None]
    first, second, third, fourth = transcripts.read(path)
    assert first == meeting[0].model_copy(update={"start_time": 0.1, "end_time": 2.3})
    assert (second.start_time, second.end_time, second.words) == (1.062, 3.3, "NAÏVE CAFÉ")
    assert third.model_copy(update=WITHOUT) == meeting[2]
    assert fourth == whole
    theirs_again = tmp_path / "again.ctm"
    meeteval.io.CTM.load(str(path)).dump(theirs_again)
    assert transcripts.read(theirs_again) == transcripts.read(path)


def test_rttm_survives_us_and_meeteval(tmp_path: Path) -> None:
    path = saved(tmp_path, SEGMENTS, "rttm")
    assert transcripts.read(path) == [segment.model_copy(update={"words": ""}) for segment in SEGMENTS]
    theirs = meeteval.io.RTTM.load(str(path))
    assert [(t.filename, t.speaker_id, float(t.begin_time), float(t.begin_time + t.duration)) for t in theirs] == [
        (s.session_id, s.speaker, s.start_time, s.end_time) for s in SEGMENTS
    ]
    theirs.dump(tmp_path / "theirs.rttm")
    assert transcripts.read(tmp_path / "theirs.rttm") == transcripts.read(path)


def test_the_words_score_as_no_error_where_meeteval_compares_formats(tmp_path: Path) -> None:
    """The reference as STM, the hypothesis as it went through SRT and back, by MeetEval's tcpWER."""
    segments = [segment for segment in SEGMENTS if segment.session_id == "m1"]
    stm = saved(tmp_path, segments, "stm")
    through = transcripts.read(saved(tmp_path, segments, "srt"))
    hypothesis = tmp_path / "hypothesis.stm"
    transcripts.write(hypothesis, through)
    scores = meeteval.wer.tcpwer(meeteval.io.load(str(stm)), meeteval.io.load(str(hypothesis)), collar=1)
    assert scores["m1"].errors == 0 and scores["m1"].length == 4


@pytest.mark.parametrize("kind", ["srt", "vtt", "textgrid", "tsv", "stm"])
def test_overlap_is_kept(tmp_path: Path, meeting: list[Segment], kind: Format) -> None:
    found = transcripts.read(saved(tmp_path, meeting, kind))
    rounded = meeting[1].model_copy(update={"start_time": 1.062}) if kind in ("srt", "vtt") else meeting[1]
    expected = [meeting[0].model_copy(update=WITHOUT), rounded, meeting[2]]
    assert [one.model_copy(update=WITHOUT) for one in found] == expected
    assert found[1].start_time < found[0].end_time


@pytest.mark.parametrize("kind", get_args(Format))
def test_what_is_kept_is_as_declared(tmp_path: Path, meeting: list[Segment], kind: Format) -> None:
    """The table of formats is no promise: every entry is tried."""
    named = meeting[0].model_copy(update={"speaker": "Ann B.", "start_time": 0.0001234})
    silent = Segment(session_id="m1", speaker="carl", start_time=3, end_time=4, words="")
    found = transcripts.read(saved(tmp_path, [named, silent, *meeting[1:]], kind))
    first = next(one for one in found if one.speaker in ("Ann B.", "Ann_B."))
    kept = {
        "words": first.words == named.words,
        "times": (round(first.start_time, 3), first.end_time) == (0.0, named.end_time),
        "digits": first.start_time == named.start_time or kind == "ctm",
        "segments": len([one for one in found if one.words]) == 3 or kind == "rttm",
        "silence": any(one.speaker == "carl" for one in found),
        "word_times": first.word_times == named.word_times,
        "confidences": first.word_confidences == named.word_confidences,
        "blanks in names": first.speaker == "Ann B." and kind != "txt",
    }
    try:
        transcripts.render(SEGMENTS, kind)
        kept["recordings"] = True
    except SepasrError:
        kept["recordings"] = False
    if kind in ("ctm", "txt"):
        kept["segments"] = False  # as many by chance
    assert {name for name, there in kept.items() if there} == set(FORMATS[kind].keeps)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("stm", ["the word times of 1 segment (left out)", "the word confidences of 1 segment (left out)"]),
        ("rttm", ["the words of 3 segments (left out)", *["the word times of 1 segment (left out)"]]),
        ("ctm", ["the borders of 3 segments (only those of words are written)", "unknown word times of 2 segments"]),
        ("srt", ["digits of 1 time (rounded to milliseconds)"]),
        ("textgrid", ["the word confidences of 1 segment (left out)"]),
        ("txt", ["the times of 3 segments", "the overlap of 1 segment (one speaker's line stands below the other's)"]),
    ],
)
def test_what_is_lost_is_said(meeting: list[Segment], kind: Format, said: list[str]) -> None:
    found = lost(meeting, kind)
    for line in said:
        assert any(one.startswith(line) for one in found), found


def test_names_with_blanks_stay_one_field(tmp_path: Path) -> None:
    named = [SEGMENTS[0].model_copy(update={"session_id": "my file", "speaker": "Ann B"})]
    assert [(s.session_id, s.speaker) for s in transcripts.read(saved(tmp_path, named, "stm"))] == [
        ("my_file", "Ann_B")
    ]
    assert lost(named, "stm") == ["blanks of 2 names (written as _)"]


def test_others_keys_and_numbers_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('[{"session_id": 1, "speaker": 0, "start_time": 0, "end_time": "1.5", "words": "A", "channel": 3}]')
    assert transcripts.read(path) == [Segment(session_id="1", speaker="0", start_time=0, end_time=1.5, words="A")]


def test_files_of_windows_and_praat_are_read(tmp_path: Path, meeting: list[Segment]) -> None:
    """A byte order mark before UTF-8, lines that end in CR LF, and UTF-16."""
    srt = saved(tmp_path, meeting, "srt")
    expected = transcripts.read(srt)
    srt.write_bytes(b"\xef\xbb\xbf" + srt.read_bytes().replace(b"\n", b"\r\n"))
    assert transcripts.read(srt) == expected
    grid = saved(tmp_path, meeting, "textgrid")
    expected = transcripts.read(grid)
    grid.write_text(grid.read_text("utf-8"), encoding="utf-16")
    assert transcripts.read(grid) == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.json", "{", "t.json: not JSON (Expecting property name enclosed in double quotes: line 1 column 2"),
        ("t.json", '{"a": 1}', "t.json: expected a JSON list of segments (SegLST), one object each"),
        ("t.json", '[{"session_id": "a"}]', "t.json: segment 1: 'speaker' is missing (3 more); add it"),
        ("t.stm", "a 1 x 0", "t.stm:1: 4 fields found, expected session, channel, speaker, start, end, words"),
        ("t.stm", ";; note\na 1 x 3 2 B", "t.stm:2: end_time is 2.0, before start_time 3.0"),
        ("t.stm", "a 1 x zero 2 B", "t.stm:1: 'start_time': found 'zero', expected a number"),
        ("t.ctm", "a x 0 1", "t.ctm:1: 4 fields found, expected session, speaker, start, duration, word"),
        ("t.ctm", "a x 0 -1 B", "t.ctm:1: found '-1' as duration, expected a number from 0"),
        ("t.ctm", "a x 0 1 B 7", "t.ctm:1: found '7' as confidence, expected 0 to 1"),
        ("t.rttm", "SPEAKER a 1 0", "t.rttm:1: 4 fields found, expected type, session, channel, start, duration"),
        ("t.rttm", "SPEAKER a 1 x 1 <NA> <NA> b", "t.rttm:1: found 'x' as start, expected a number from 0"),
        ("t.srt", "hello", "t.srt: holds no times such as 00:00:01,000 --> 00:00:02,500; expected subtitles"),
        ("t.srt", "1\n0 --> 1\nA", "t.srt:2: found '0 --> 1', expected times as 00:00:01.000 --> 00:00:02.500"),
        ("t.srt", "00:00:02,0 --> 00:00:01,0\nA", "t.srt:1: a cue ends at 1 s, before it starts at 2 s"),
        ("t.vtt", "1\n", "t.vtt: does not begin with WEBVTT; expected WebVTT subtitles"),
        ("t.textgrid", "hello", "t.textgrid: does not begin as a TextGrid; expected one that Praat wrote"),
        ("t.tsv", "start\tend\ttext\n", "t.tsv: no column 'session_id' in the first line; expected session_id, sp"),
        ("t.tsv", "session_id\tspeaker\tstart_time\tend_time\twords\na\tb", "t.tsv:2: 2 columns found, expected 5"),
        ("t.txt", "hello", "t.txt:1: expected 'recording  speaker: words', with two blanks between names"),
        ("t.doc", "", "t.doc: unknown ending '.doc'; expected one of .json, .stm"),
    ],
)
def test_broken_transcripts_are_one_clear_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SepasrError) as caught:
        transcripts.read(tmp_path / name)
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"word_times": [[0, 1]]}, "1 word times for 2 words"),
        ({"word_times": [[0, 1], [2, 1]]}, "a word ends at 1.0, before it starts at 2.0"),
        ({"word_confidences": [1]}, "1 word confidences for 2 words"),
        ({"word_confidences": [0, 2]}, "a word's confidence is 2.0; expected 0 to 1"),
    ],
)
def test_words_and_what_is_known_of_them_fit(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Segment.model_validate(SEGMENTS[0].model_dump() | values)


@pytest.mark.parametrize(("kind", "title"), [("srt", "SRT"), ("vtt", "WebVTT"), ("textgrid", "TextGrid")])
def test_one_recording_a_file(tmp_path: Path, kind: Format, title: str) -> None:
    with pytest.raises(SepasrError, match=f"{title} holds one recording, found 2; give --out a folder"):
        saved(tmp_path, SEGMENTS, kind)
    assert not list(tmp_path.iterdir())


def test_unknown_formats_are_named() -> None:
    with pytest.raises(ArgumentError, match="--format 'doc' is unknown; expected one of json, stm, ctm"):
        transcripts.parse_formats("json,doc")
