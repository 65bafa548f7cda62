"""What players show, and what people wrote by hand."""

from sepasr_cli.transcripts import Segment, subtitles


def test_a_cue_says_who_speaks(meeting: list[Segment]) -> None:
    assert subtitles.write_srt(meeting).splitlines()[:6] == [
        "1",
        "00:00:00,000 --> 00:00:02,500",
        "anna: HELLO THERE",
        "",
        "2",
        "00:00:01,062 --> 00:00:03,300",
    ]
    assert subtitles.write_vtt(meeting).splitlines()[:4] == [
        "WEBVTT",
        "",
        "00:00:00.000 --> 00:00:02.500",
        "<v anna>HELLO THERE",
    ]


def test_a_cue_lasts_and_has_words() -> None:
    short = Segment(session_id="a", speaker="x", start_time=3600.1, end_time=3600.1, words="A")
    silent = Segment(session_id="a", speaker="x", start_time=0, end_time=1, words="")
    assert subtitles.write_srt([silent, short]) == "1\n01:00:00,100 --> 01:00:00,101\nx: A\n\n"


def test_marks_of_webvtt_are_kept_apart_from_words() -> None:
    segment = Segment(session_id="a", speaker="R&D", start_time=0, end_time=1, words="x < y --> <v z> &amp;")
    text = subtitles.write_vtt([segment])
    assert text.count("-->") == 1 and text.count("<v") == 1
    assert subtitles.read_vtt(text, "a.vtt", "a") == [segment]


def test_srt_of_others_is_read() -> None:
    text = "7\n00:01.5 --> 00:02,25\n<i>Hello</i>\nthere\n\n8\n00:00:03,000 --> 00:00:04,000 X1:0\nAnn: hi: you\n"
    assert subtitles.read_srt(text, "a.srt", "a") == [
        Segment(session_id="a", speaker="unknown", start_time=1.5, end_time=2.25, words="Hello there"),
        Segment(session_id="a", speaker="Ann", start_time=3.0, end_time=4.0, words="hi: you"),
    ]


def test_webvtt_of_others_is_read() -> None:
    text = (
        "WEBVTT - title\n\nNOTE nothing\n\nSTYLE\n::cue { color: red }\n\nfirst\n00:01.000 --> 00:02.000 align:start\n"
        "<v.loud Ann>Hi <b>you</b></v>\n<v Bob>and <00:01.500>me\n\n00:03.000 --> 00:04.000\nnobody\n"
    )
    assert [(one.speaker, one.start_time, one.words) for one in subtitles.read_vtt(text, "a.vtt", "a")] == [
        ("Ann", 1.0, "Hi you"),
        ("Bob", 1.0, "and me"),
        ("unknown", 3.0, "nobody"),
    ]


def test_a_word_in_brackets_is_a_word_of_srt() -> None:
    segment = Segment(session_id="a", speaker="x", start_time=0, end_time=1, words="a <unk> c > b < d &amp;")
    assert subtitles.read_srt(subtitles.write_srt([segment]), "a.srt", "a") == [segment]
