"""What others put into NIST's formats."""

from sepasr_cli.transcripts import Segment, nist


def test_labels_and_comments_of_stm_are_left_out() -> None:
    text = ";; LABEL\n\na 1 ann 0 1.5 <o,f0,female> <unk> so\nb 1 bob 2 3\n"
    assert nist.read_stm(text, "a.stm", "") == [
        Segment(session_id="a", speaker="ann", start_time=0, end_time=1.5, words="<unk> so"),
        Segment(session_id="b", speaker="bob", start_time=2, end_time=3, words=""),
    ]


def test_words_of_ctm_are_parted_where_it_is_quiet() -> None:
    text = "a 1 0.0 0.4 so NA\na 1 1.4 0.1 it\na 2 1.45 1 but 0.5\na 1 2.501 .2 is\n"
    assert [(one.speaker, one.words, one.start_time, one.end_time) for one in nist.read_ctm(text, "a.ctm", "")] == [
        ("1", "so it", 0.0, 1.5),
        ("2", "but", 1.45, 2.45),
        ("1", "is", 2.501, 2.701),
    ]


def test_other_lines_of_rttm_are_left_out() -> None:
    text = "SPKR-INFO a 1 <NA> <NA> <NA> unknown ann <NA>\nSPEAKER a 1 0.5 0.25 <NA> <NA> ann <NA>\n"
    assert nist.read_rttm(text, "a.rttm", "") == [
        Segment(session_id="a", speaker="ann", start_time=0.5, end_time=0.75, words="")
    ]
