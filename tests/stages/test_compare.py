"""`compare` says which differences are real, and refuses scores of other references."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sepasr_cli import transcripts
from sepasr_cli.errors import SepasrError
from sepasr_cli.stages.compare import compare
from sepasr_cli.stages.score import score
from sepasr_cli.transcripts import Segment

RATE = 8000
RECORDINGS = 8


@pytest.fixture
def scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Scores an estimate with this much noise and this share of wrong recordings, into a folder of its own."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    clean = {f"r{number}": 0.2 * draw.standard_normal(RATE) for number in range(RECORDINGS)}
    texts = {name: f"good morning number {name}" for name in clean}

    def make(name: str, noise: float, wrong: int = 0, seed: int = 0, left_out: int = 0, **options: Any) -> Path:
        Path(f"{name}/ref").mkdir(parents=True)
        Path(f"{name}/est").mkdir()
        for kind in ("said", "heard"):
            segments = [
                Segment(
                    session_id=key,
                    speaker="x",
                    start_time=0,
                    end_time=1,
                    words=text if kind == "said" or number >= wrong else "bad",
                )
                for number, (key, text) in enumerate(texts.items())
            ]
            transcripts.write(Path(f"{name}/{kind}.json"), segments[left_out if kind == "heard" else 0 :])
        for number, (key, signal) in enumerate(clean.items()):
            other = np.random.default_rng((7, number, seed)).standard_normal(RATE)
            soundfile.write(f"{name}/ref/{key}.wav", signal + options.get("offset", 0.0), RATE)
            if number >= left_out:
                soundfile.write(f"{name}/est/{key}.wav", signal + noise * other, RATE)
        score(
            reference=[f"{name}/ref", f"{name}/said.json"],
            estimate=[f"{name}/est", f"{name}/heard.json"],
            metrics=["si_sdr", "wer", "tcpwer"],
            out=f"{name}/scores",
            workers=1,
            **{key: value for key, value in options.items() if key != "offset"},
        )
        return Path(name) / "scores"

    return make


def test_a_real_difference_is_told_from_none(scored: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    worse, better = scored("worse", 0.2, wrong=1), scored("better", 0.1, wrong=1, seed=1)
    capsys.readouterr()
    found = compare(worse, better, out="result.json")
    by_name = {one.metric: one for one in found.differences}
    assert by_name["si_sdr"].real and 5 < by_name["si_sdr"].difference < 7
    assert (by_name["wer"].real, by_name["wer"].difference, by_name["wer"].p_value) == (False, 0, 1)
    assert (found.first, found.second, found.recordings) == ("worse/scores", "better/scores", RECORDINGS)
    printed = capsys.readouterr().out
    assert "better/scores is better" in printed and "not shown" in printed
    written = json.loads(Path("result.json").read_text())
    assert written["differences"][0]["metric"] == "si_sdr" and written["differences"][0]["real"] is True
    with pytest.raises(SepasrError, match=r"result.json: exists already"):
        compare(worse, better, out="result.json")


def test_only_common_recordings_count(scored: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    whole, part = scored("whole", 0.1), scored("part", 0.1, left_out=3)
    assert compare(whole, part).recordings == RECORDINGS - 3
    assert f"3 of {RECORDINGS} recordings of whole/scores are not in the other" in capsys.readouterr().err


def test_other_references_are_refused(scored: Callable[..., Path]) -> None:
    with pytest.raises(
        SepasrError, match=r"8 of 8 recordings have other references of signals in a/scores than in b/sc"
    ):
        compare(scored("a", 0.1), scored("b", 0.1, offset=0.01))


def test_other_rules_are_refused(scored: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    basic = scored("a", 0.1)
    with pytest.raises(SepasrError, match="a/scores was scored with text 'basic', b/scores with 'none'"):
        compare(basic, scored("b", 0.1, text="none"))
    found = compare(basic, scored("c", 0.1, collar=1.0))
    assert [one.metric for one in found.differences] == ["si_sdr", "wer"]
    assert "tcpWER is left out: collars of 5 and 1 s" in capsys.readouterr().err


def test_damaged_and_old_scores_are_named(scored: Callable[..., Path]) -> None:
    folder = scored("a", 0.1)
    records = (folder / "recordings.jsonl").read_text()
    (folder / "recordings.jsonl").write_text(records[:-9])
    with pytest.raises(SepasrError, match="a/scores: the scores are damaged; run `sepasr score` again"):
        compare(folder, folder)
    old = [{"id": record["id"]} for record in map(json.loads, records.splitlines())]
    (folder / "recordings.jsonl").write_text("\n".join(map(json.dumps, old)))
    with pytest.raises(SepasrError, match="a/scores: scored by an earlier version"):
        compare(folder, folder)
    with pytest.raises(SepasrError, match="nope: no such run directory"):
        compare("nope", folder)
