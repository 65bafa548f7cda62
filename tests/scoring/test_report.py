"""The summary holds every number once, as plain data, and the table shows them."""

import json

import pytest
from rich.console import Console

from sepasr_cli.scoring import report
from sepasr_cli.scoring.report import RecordingScore, SpokenPair
from sepasr_cli.scoring.signals import Mean, SignalScore
from sepasr_cli.scoring.words import score_words


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


@pytest.fixture
def recordings() -> list[RecordingScore]:
    words, _ = score_words(["A B", "C"], ["C", "A X"])
    pairs = (SpokenPair("ann", "A B", "A X"), SpokenPair("bob", "C", "C"))
    return [
        RecordingScore("one", ("ann", "bob"), (signal(6), signal(8)), ("s1.wav", "s2.wav"), words, pairs),
        RecordingScore("two", ("ann",), (signal(10, stoi=None),), ("s1.wav",)),
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


def test_a_record_names_each_speakers_estimate(recordings: list[RecordingScore]) -> None:
    record = recordings[0].record()
    assert json.loads(json.dumps(record)) == record
    assert (record["id"], record["si_sdr"]) == ("one", 7.0)
    assert [(one["speaker"], one["estimate"], one["si_sdr"]) for one in record["signals"]] == [
        ("ann", "s1.wav", 6.0),
        ("bob", "s2.wav", 8.0),
    ]
    assert record["transcripts"][0] == {"speaker": "ann", "reference": "A B", "hypothesis": "A X"}
    assert "wer" not in recordings[1].record()


def test_the_table_always_shows_the_mixture(recordings: list[RecordingScore]) -> None:
    console = Console(width=100, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(report.table(report.summarise(recordings, "early", "basic"), "scores"))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert ["SI-SDR", "(dB)", "1.00", "8.00", "+7.00", "3", "signals"] in lines
    assert ["WER", "33.3%", "3", "words"] in lines
    assert ["PESQ", "-", "0", "signals"] in lines


def test_nothing_scored_gives_nulls() -> None:
    summary = report.summarise([], "early", "none")
    assert (summary["wer"], summary["si_sdr"], summary["counts"]["si_sdr"]) == (None, None, 0)
    assert report.remarks(summary) == []
    report.table(summary, "empty")


def test_remarks_and_examples(recordings: list[RecordingScore]) -> None:
    summary = report.summarise(recordings, "early", "basic")
    assert report.remarks(summary) == [
        "word errors: 1 substitutions, 0 deletions, 0 insertions (best speaker assignment, text 'basic')",
        "left out: stoi: less than 0.4 s of speech (1x)",
    ]
    assert report.example(recordings[0]).splitlines() == [
        "one",
        "  ann said:  A B",
        "      heard: A X",
        "  bob said:  C",
        "      heard: C",
    ]
