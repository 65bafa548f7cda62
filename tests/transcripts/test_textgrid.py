"""TextGrids as Praat has them: tiers that tile the recording, long form and short."""

import re

from sepasr_cli.transcripts import Segment, textgrid

SHORT = """File type = "ooTextFile"
Object class = "TextGrid"

0
4
<exists>
2
"IntervalTier"
"Ann ""A"" B"
0
4
3
0
1
""
1
2.5
"so ""it"" is 5"
2.5
4
""
"TextTier"
"clicks"
0
4
1
1.5
"click"
"""


def tier(text: str, name: str) -> list[tuple[float, float, str]]:
    part = text.split(f'name = "{name}"')[1].split("item [")[0]
    return [
        (float(start), float(end), words)
        for start, end, words in re.findall(r'xmin = (\S+)\n\s+xmax = (\S+)\n\s+text = "(.*)"', part)
    ]


def test_a_tier_a_speaker_tiles_the_recording(meeting: list[Segment]) -> None:
    text = textgrid.write(meeting)
    assert text.startswith('File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 5.250\n')
    assert tier(text, "anna") == [(0, 2.5, "HELLO THERE"), (2.5, 4.1, ""), (4.1, 5.25, "BYE")]
    assert tier(text, "ben") == [(0, 1.0625, ""), (1.0625, 3.3, "NAÏVE CAFÉ"), (3.3, 5.25, "")]
    assert tier(text, "anna - words")[:4] == [(0, 0.1, ""), (0.1, 1.1, "HELLO"), (1.1, 1.3, ""), (1.3, 2.3, "THERE")]


def test_a_speaker_who_overlaps_with_himself_is_joined_and_no_word_is_lost(meeting: list[Segment]) -> None:
    twice = [*meeting, meeting[0].model_copy(update={"start_time": 2.0, "end_time": 3.0, "words": "OH WELL"})]
    assert tier(textgrid.write(twice), "anna")[0] == (0, 3.0, "HELLO THERE OH WELL")


def test_the_short_form_is_read_and_points_are_left_out() -> None:
    assert textgrid.read(SHORT, "a.TextGrid", "a") == [
        Segment(session_id="a", speaker='Ann "A" B', start_time=1, end_time=2.5, words='so "it" is 5')
    ]


def test_a_segment_lasts() -> None:
    short = Segment(session_id="a", speaker="x", start_time=1, end_time=1, words="A")
    found = textgrid.read(textgrid.write([short]), "a.TextGrid", "a")
    assert [(one.start_time, one.end_time, one.words) for one in found] == [(1.0, 1.001, "A")]
    assert textgrid.read(textgrid.write([]), "a.TextGrid", "a") == []
