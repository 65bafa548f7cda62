"""The tables show what was scored, and give the same numbers to programs."""

import csv
import io
from typing import Any

import pytest

from sepasr_cli.scoring import report, tables
from sepasr_cli.scoring.bootstrap import Difference
from sepasr_cli.scoring.report import RecordingScore
from sepasr_cli.scoring.signals import Mean, SignalScore
from sepasr_cli.scoring.words import SpokenPair, score_words


def recording(name: str, ratio: float, hypothesis: str) -> RecordingScore:
    signal = SignalScore(
        si_sdr=Mean.of(ratio), si_sdr_mixture=Mean.of(1), si_sdr_improvement=Mean.of(ratio - 1), sar=Mean.of(20)
    )
    words, _ = score_words(["A B"], [hypothesis])
    return RecordingScore(name, ("ann",), (signal,), ("s1.wav",), words, (SpokenPair("ann", "A B", hypothesis),))


@pytest.fixture
def summary() -> dict[str, Any]:
    return report.summarise([recording("one", 6, "A X"), recording("two", 10, "A B")], "early", "basic")


def test_the_mixture_is_beside_the_estimate(summary: dict[str, Any]) -> None:
    head, *rows = tables.summary_table(summary)
    assert head == ["", "mixture", "score", "95 %", "improvement", "95 %", "S/D/I", "of"]
    assert rows[0] == ["SI-SDR (dB)", "1.00", "8.00", "6.00 to 10.00", "+7.00", "+5.00 to +9.00", "", "2 signals"]
    assert rows[1][:5] == ["SAR (dB)", "", "20.00", "20.00 to 20.00", ""]
    assert rows[2] == ["WER", "", "25.0%", "0.0% to 50.0%", "", "", "1/0/0", "4 words"]
    assert [row[0] for row in rows] == ["SI-SDR (dB)", "SAR (dB)", "WER", "CER"]


def test_the_terminal_breaks_no_number(summary: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    tables.print_table(tables.summary_table(summary), "scores")
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "SI-SDR (dB) 1.00 8.00 6.00 to 10.00 +7.00 +5.00 to +9.00 2 signals" in lines


def test_csv_has_the_numbers_as_computed(summary: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(tables.rendered(tables.summary_values(summary), "csv"))))
    assert [row["metric"] for row in rows] == ["si_sdr", "sar", "wer", "cer"]
    assert float(rows[0]["score"]) == summary["si_sdr"]
    assert [float(rows[0][name]) for name in ("low", "high")] == summary["intervals"]["si_sdr"]
    assert (rows[2]["substitutions"], rows[2]["count"], rows[2]["improvement"]) == ("1", "4", "")


def test_latex_is_escaped(summary: dict[str, Any]) -> None:
    lines = tables.rendered(tables.summary_table(summary), "latex").splitlines()
    assert lines[0] == r"\begin{tabular}{lrrrrrrr}"
    assert r"95 \%" in lines[2]
    assert lines[6] == r"WER &  & 25.0\% & 0.0\% to 50.0\% &  &  & 1/0/0 & 4 words \\"
    assert lines[-1] == r"\end{tabular}"


def test_remarks_say_what_the_table_does_not(summary: dict[str, Any]) -> None:
    remarks = tables.remarks(summary)
    assert remarks[0] == "text 'basic' on both sides; WER and CER under the best assignment of speakers"
    assert "not scored: SDR, SIR, STOI, ESTOI, PESQ, cpWER, ORC-WER, tcpWER: nothing to compute it from" in remarks
    assert tables.example(recording("one", 6, "A X")).splitlines() == ["one", "  ann said:  A B", "      heard: A X"]


def test_a_comparison_names_the_better_one() -> None:
    found = [
        Difference("si_sdr", 6.0, 7.0, 1.0, 0.5, 1.5, 0.001, 9),
        Difference("wer", 0.2, 0.3, 0.1, 0.05, 0.2, 0.001, 9),
        Difference("stoi", 0.8, 0.81, 0.01, -0.01, 0.02, 0.3, 9),
    ]
    rows = tables.comparison_table(found, "old", "new")
    assert rows[0] == ["", "old", "new", "difference", "95 %", "p", "recordings", ""]
    assert rows[1] == ["SI-SDR (dB)", "6.00", "7.00", "+1.00", "+0.50 to +1.50", "0.0010", "9", "new is better"]
    assert [row[-1] for row in rows[1:]] == ["new is better", "old is better", "not shown"]
    assert tables.comparison_values(found)[2][:4] == ["wer", "0.2", "0.3", "0.1"]
