"""A small meeting in which people talk at once."""

import pytest

from sepasr_cli.transcripts import Segment


@pytest.fixture
def meeting() -> list[Segment]:
    """Two speakers who overlap, with word times and confidences where known."""
    return [
        Segment(
            session_id="m1",
            speaker="anna",
            start_time=0.0,
            end_time=2.5,
            words="HELLO THERE",
            word_times=((0.1, 1.1), (1.3, 2.3)),
            word_confidences=(0.5, 0.987654321),
        ),
        Segment(session_id="m1", speaker="ben", start_time=1.0625, end_time=3.3, words="NAÏVE CAFÉ"),
        Segment(session_id="m1", speaker="anna", start_time=4.1, end_time=5.25, words="BYE"),
    ]
