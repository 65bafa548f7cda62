"""`score` on a run's split: the numbers, what is written, and what is said where something is missing."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sepasr_cli import transcripts
from sepasr_cli.errors import ArgumentError, SepasrError
from sepasr_cli.manifest import Separated, write_manifest
from sepasr_cli.rundir import RunDir
from sepasr_cli.stages.score import score
from sepasr_cli.stages.separate import separate
from sepasr_cli.stages.transcribe import transcribe
from sepasr_cli.transcripts import Segment


def pretend_separated(run: RunDir, count: int = 3) -> None:
    """The references with a little noise, in the other order."""
    folder = run.path / "separated/test"
    folder.mkdir(parents=True)
    listed = []
    for number in range(count):
        names = []
        for place, speaker in enumerate(("bob", "ann"), 1):
            signal, rate = soundfile.read(run.data / f"test/test_{number}_{speaker}.flac")
            names.append(f"test_{number}_spk{place}.wav")
            noise = 0.01 * np.random.default_rng(place).standard_normal(len(signal))
            soundfile.write(folder / names[-1], signal + noise, rate)
        listed.append(Separated(id=f"test_{number}", audio=tuple(names)))
    write_manifest(folder / "separated.jsonl", listed)


def pretend_transcribed(run: RunDir, count: int = 3) -> None:
    """One speaker right, the other wrong in one of two words."""
    texts = {"spk1": "abc x", "spk2": "Abc, {}"}
    transcripts.write(
        run.path / "transcripts/test/transcripts.json",
        [
            Segment(session_id=f"test_{n}", speaker=speaker, start_time=0, end_time=1, words=text.format(n))
            for n in range(count)
            for speaker, text in texts.items()
        ],
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_the_summary_and_the_records(
    make_run: Callable[..., RunDir], capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    run = make_run()
    pretend_separated(run)
    pretend_transcribed(run)
    summary = score(run.path, examples=2, workers=workers)
    folder = run.path / "scores/test"
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert 10 < summary["si_sdr_improvement"] < 40
    assert summary["si_sdr"] - summary["si_sdr_mixture"] == pytest.approx(summary["si_sdr_improvement"], abs=1e-5)
    assert summary["sdr_improvement"] > 10
    assert summary["wer"] == 0.25
    assert (summary["counts"]["si_sdr"], summary["counts"]["wer"], summary["counts"]["recordings"]) == (6, 12, 3)
    records = [json.loads(line) for line in (folder / "recordings.jsonl").read_text().splitlines()]
    assert [record["id"] for record in records] == ["test_0", "test_1", "test_2"]
    assert [one["estimate"] for one in records[0]["signals"]] == ["test_0_spk2.wav", "test_0_spk1.wav"]
    assert np.mean([record["si_sdr"] for record in records]) == pytest.approx(summary["si_sdr"], abs=1e-5)
    printed = capsys.readouterr().out
    assert "SI-SDR (dB)" in printed
    assert "3 recordings, 'early' references" in printed
    assert "WER and CER under the best assignment" in printed
    assert printed.count(" said:  ABC") == 4


def test_after_the_real_commands(make_run: Callable[..., RunDir]) -> None:
    run = make_run(2)
    separate([run.path], split="test", device="cpu").check()
    transcribe([run.path], split="test", device="cpu").check()
    summary = score(run.path)
    assert summary["counts"]["recordings"] == summary["counts"]["transcribed_recordings"] == 2
    assert np.isfinite(summary["si_sdr_improvement"])


def test_one_kind_alone_is_scored_and_the_other_named(
    make_run: Callable[..., RunDir], capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    pretend_separated(run)
    summary = score(run.path)
    assert (summary["wer"], summary["counts"]["si_sdr"]) == (None, 6)
    said = capsys.readouterr().err
    assert f"transcripts.json is missing (found none); run `sepasr transcribe {run.path} --split test`" in said
    pretend_transcribed(run)
    (run.path / "separated/test").rename(run.path / "separated/test-cascade")
    summary = score(run.path)
    assert (summary["wer"], summary["si_sdr"]) == (0.25, None)
    assert "separated.jsonl is missing (found test-cascade); run `sepasr separate" in capsys.readouterr().err


def test_nothing_to_score_names_both_commands(make_run: Callable[..., RunDir]) -> None:
    run = make_run(1)
    with pytest.raises(SepasrError) as caught:
        score(run.path, system="cascade")
    assert "nothing to score: " in str(caught.value)
    for command in ("separate", "transcribe"):
        assert f"`sepasr {command} {run.path} --split test --system cascade`" in str(caught.value)


def test_a_bad_recording_is_named_and_the_others_are_scored(make_run: Callable[..., RunDir]) -> None:
    run = make_run()
    pretend_separated(run)
    (run.path / "separated/test/test_1_spk1.wav").write_bytes(b"damaged")
    with pytest.raises(SepasrError, match="1 of 3 files failed: test_1"):
        score(run.path)
    summary = json.loads((run.path / "scores/test/summary.json").read_text())
    assert (summary["counts"]["recordings"], summary["counts"]["si_sdr"]) == (2, 4)


def test_a_reference_that_was_not_rendered_is_named(
    make_run: Callable[..., RunDir], capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(2)
    pretend_separated(run, 2)
    recipe = run.recipe_path.read_text()
    run.recipe_path.write_text(recipe.replace("reference: early", "reference: direct"))
    manifest = run.manifest("test")
    manifest.write_text(manifest.read_text().replace('"direct":', '"image":', 1))
    with pytest.raises(SepasrError, match="1 of 2 files failed"):
        score(run.path)
    assert "test_0: has no 'direct' reference; add it to simulation.references" in capsys.readouterr().err


def test_what_was_not_done_is_counted(make_run: Callable[..., RunDir], capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run()
    pretend_separated(run, 2)
    pretend_transcribed(run, 1)
    summary = score(run.path)
    assert (summary["counts"]["recordings"], summary["counts"]["transcribed_recordings"]) == (2, 1)
    said = capsys.readouterr().err
    assert "1 of 3 mixtures were not separated" in said
    assert "2 of 3 mixtures were not transcribed" in said


def test_without_reference_texts_words_are_not_scored(
    make_run: Callable[..., RunDir], capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(1, texts=False)
    pretend_separated(run, 1)
    pretend_transcribed(run, 1)
    assert score(run.path, examples=1)["wer"] is None
    assert "1 of 1 mixtures have no reference transcripts" in capsys.readouterr().err


def test_no_run_directory_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SepasrError, match="no such run directory"):
        score(tmp_path / "none")
    with pytest.raises(SepasrError, match=r"holds no recipe\.yaml; expected a run directory"):
        score(tmp_path)


def test_a_recording_without_a_word_is_all_deletions_once_all_is_done(
    make_run: Callable[..., RunDir], capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    pretend_transcribed(run, 2)
    assert score(run.path)["words"]["deletions"] == 0
    (run.path / "transcripts/test/stage.json").write_text('{"status": "finished"}')
    assert score(run.path)["words"]["deletions"] == 4
    assert "1 of 3 mixtures have not one word in their transcript" in capsys.readouterr().err


def test_files_score_as_the_run_does(make_run: Callable[..., RunDir]) -> None:
    run = make_run()
    pretend_separated(run)
    pretend_transcribed(run)
    of_run = score(run.path)
    separated, transcribed = run.path / "separated/test/separated.jsonl", run.path / "transcripts/test"
    out = run.path.parent / "scores"
    of_files = score(reference=[run.manifest("test")], estimate=[separated, transcribed], out=out)
    assert of_files == of_run
    assert json.loads((out / "summary.json").read_text()) == of_files
    with pytest.raises(SepasrError, match=r"scores/summary.json: exists already; pass --overwrite"):
        score(reference=[run.manifest("test")], estimate=[separated], out=out)


def test_rules_of_the_recipe_can_be_overruled(make_run: Callable[..., RunDir]) -> None:
    run = make_run()
    pretend_transcribed(run)
    summary = score(run.path, text="none", collar=0.5)
    assert (summary["wer"], summary["text"], summary["collar"]) == (0.75, "none", 0.5)


def test_only_the_metrics_asked_for(make_run: Callable[..., RunDir], capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run()
    pretend_separated(run)
    pretend_transcribed(run)
    summary = score(run.path, metrics=["si_sdr", "cpwer"])
    assert summary["sdr"] is summary["pesq"] is summary["orcwer"] is None
    assert summary["unscored"]["sdr"] == "not asked for"
    assert (summary["cpwer"], summary["wer"]) == (0.25, None)
    assert "PESQ" not in capsys.readouterr().out
    with pytest.raises(ArgumentError, match="metric 'sisdr' is unknown; expected some of si_sdr, sdr"):
        score(run.path, metrics=["sisdr"])


@pytest.mark.parametrize("form", ["csv", "markdown", "latex"])
def test_the_table_for_files(make_run: Callable[..., RunDir], capsys: pytest.CaptureFixture[str], form: str) -> None:
    run = make_run()
    pretend_transcribed(run)
    score(run.path, table=form)  # type: ignore[arg-type]
    printed = capsys.readouterr().out.splitlines()
    starts = {"csv": "metric,mixture,score", "markdown": "|  | score |", "latex": r"\begin{tabular}"}
    assert printed[0].startswith(starts[form])
    assert any("25.0" in line or "0.25" in line for line in printed)


@pytest.mark.parametrize(
    ("length", "rate", "line"),
    [
        (7900, 8000, None),
        (7000, 8000, r"est/r_s1.wav has 7000 samples, .*ref/r_s1.wav has 8000; expected equal lengths, within 50 ms"),
        (8000, 16000, r"est/r_s2.wav is at 8000 Hz, .*est/r_s1.wav at 16000 Hz; resample one of them"),
    ],
)
def test_lengths_and_rates(tmp_path: Path, length: int, rate: int, line: str | None) -> None:
    signals = 0.1 * np.random.default_rng(0).standard_normal((2, 8000))
    for folder in ("ref", "est"):
        (tmp_path / folder).mkdir()
        for number in (1, 2):
            soundfile.write(tmp_path / f"{folder}/r_s{number}.wav", signals[number - 1], 8000)
    soundfile.write(tmp_path / "est/r_s1.wav", signals[0][:length], rate)
    if line is None:
        summary = score(reference=[tmp_path / "ref"], estimate=[tmp_path / "est"], metrics=["si_sdr"])
        assert summary["notes"] == {"signals of unequal length were cut, by 50 ms at most": 1}
        assert summary["si_sdr"] > 50
    else:
        with pytest.raises(SepasrError, match=line):
            score(reference=[tmp_path / "ref"], estimate=[tmp_path / "est"])


def test_arguments_that_do_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="found neither RUN nor --reference"):
        score()
    with pytest.raises(ArgumentError, match="found no --estimate; give a run directory, or --reference and --estimate"):
        score(reference=["a.wav"])
    with pytest.raises(ArgumentError, match="a run has its own references"):
        score(tmp_path, reference=["a.wav"], estimate=["b.wav"])
