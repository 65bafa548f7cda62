"""The summary holds every number, as plain data, and says why others are missing."""

import json

import pytest

from sepasr_cli.scoring import report
from sepasr_cli.scoring.report import RecordingScore
from sepasr_cli.scoring.signals import Mean, SignalScore
from sepasr_cli.scoring.words import score_transcripts
from sepasr_cli.transcripts import Segment


def signal(ratio: float, stoi: float | None = 0.8) -> SignalScore:
    return SignalScore(
        si_sdr=Mean.of(ratio),
        si_sdr_improvement=Mean.of(ratio - 1),
        si_sdr_mixture=Mean.of(1),
        sdr=Mean.of(ratio + 1),
        sdr_improvement=Mean.of(ratio),
        sdr_mixture=Mean.of(1),
        stoi=Mean.of(stoi),
        undefined=() if stoi else ("stoi: less than 0.4 s of speech",),
    )


def said(speaker: str, words: str, start: float = 0.0) -> Segment:
    return Segment(session_id="one", speaker=speaker, start_time=start, end_time=start + 1, words=words)


@pytest.fixture
def recordings() -> list[RecordingScore]:
    words, pairs = score_transcripts([said("ann", "A B"), said("bob", "C")], [said("1", "C"), said("2", "A X")])
    signals = (signal(6), signal(8))
    references = {"signals": "0a", "words": "0b"}
    return [
        RecordingScore("one", ("ann", "bob"), signals, ("s1.wav", "s2.wav"), words, pairs, references),
        RecordingScore("two", ("ann",), (signal(10, stoi=None),), ("s1.wav",), notes=("cut",)),
    ]


def test_summary_has_every_metric_with_its_count(recordings: list[RecordingScore]) -> None:
    summary = report.summarise(recordings, "early", "basic")
    assert json.loads(json.dumps(summary)) == summary
    assert (summary["si_sdr"], summary["si_sdr_mixture"], summary["si_sdr_improvement"]) == (8.0, 1.0, 7.0)
    assert (summary["sdr"], summary["sdr_improvement"], summary["stoi"], summary["pesq"]) == (9.0, 8.0, 0.8, None)
    assert summary["wer"] == pytest.approx(1 / 3)
    assert summary["cer"] == pytest.approx(1 / 4)
    assert summary["words"] == {"errors": 1, "substitutions": 1, "deletions": 0, "insertions": 0, "length": 3}
    counts = summary["counts"]
    assert (counts["recordings"], counts["transcribed_recordings"], counts["wer"], counts["cer"]) == (2, 1, 3, 4)
    assert (counts["si_sdr"], counts["stoi"], counts["pesq"]) == (3, 2, 0)
    assert summary["undefined"] == {"stoi: less than 0.4 s of speech": 1}
    assert summary["errors"]["cpwer"] == summary["errors"]["tcpwer"] == summary["words"]
    assert summary["intervals"]["si_sdr"] == [7.0, 10.0]
    assert "wer" not in summary["intervals"]
    assert summary["notes"] == {"cut": 1}


def test_metrics_without_a_value_say_why(recordings: list[RecordingScore]) -> None:
    missing = report.summarise(recordings, "early", "basic", reasons={"pesq": "not asked for"})["unscored"]
    assert missing == {
        "pesq": "not asked for",
        "sir": "nothing to compute it from",
        "sar": "nothing to compute it from",
        "estoi": "nothing to compute it from",
    }
    timeless = RecordingScore("three", words=score_transcripts([said("a", "A")], [untimed("A")])[0])
    assert report.summarise([timeless], "early", "basic")["unscored"]["tcpwer"] == "the hypothesis has no times"


def untimed(words: str) -> Segment:
    return Segment(session_id="one", speaker="1", start_time=0, end_time=0, words=words)


def test_a_record_gives_back_what_it_was_made_of(recordings: list[RecordingScore]) -> None:
    for recording in recordings:
        found = report.parts_of(json.loads(json.dumps(recording.record())))
        wanted = {name: mean for name, mean in recording.parts().items() if mean.count}
        assert found.keys() >= wanted.keys()
        for name, mean in wanted.items():
            assert (found[name].count, found[name].total) == (mean.count, pytest.approx(mean.total, abs=1e-5))


def test_a_record_names_each_speakers_estimate(recordings: list[RecordingScore]) -> None:
    record = recordings[0].record()
    assert json.loads(json.dumps(record)) == record
    assert (record["id"], record["si_sdr"]) == ("one", 7.0)
    assert [(one["speaker"], one["estimate"], one["si_sdr"]) for one in record["signals"]] == [
        ("ann", "s1.wav", 6.0),
        ("bob", "s2.wav", 8.0),
    ]
    assert record["transcripts"][0] == {"speaker": "ann", "reference": "A B", "hypothesis": "A X", "label": "2"}
    assert record["references"] == {"signals": "0a", "words": "0b"}
    assert "wer" not in recordings[1].record()


def test_nothing_scored_gives_nulls() -> None:
    summary = report.summarise([], "early", "none")
    assert (summary["wer"], summary["si_sdr"], summary["counts"]["si_sdr"]) == (None, None, 0)
    assert len(summary["unscored"]) == 12
