"""`transcribe` on files and a run's split: what is printed, what is written, what bad input gives."""

from collections.abc import Callable
from pathlib import Path

import meeteval
import numpy as np
import pytest
import soundfile
import torch

from sepasr_cli import audio, transcripts
from sepasr_cli.errors import SepasrError
from sepasr_cli.inference.pipeline import Pipeline
from sepasr_cli.inference.recording import Recording
from sepasr_cli.joint import JointModel
from sepasr_cli.recognition.beam_search import DecodingConfig
from sepasr_cli.rundir import RunDir
from sepasr_cli.stages.transcribe import UNDER_WAY, transcribe
from sepasr_cli.transcripts import Segment

RATE = 8000


@pytest.fixture
def folder(tmp_path: Path, talkers: np.ndarray) -> Path:
    """Two recordings, one of them in a folder below."""
    for name in ("a.wav", "sub/b.wav"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, talkers.T, RATE)
    return tmp_path / "in"


def test_a_line_a_speaker_is_printed(folder: Path, joint_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = transcribe([folder], str(joint_folder), decoding="greedy", device="cpu")
    outcome.check()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["a  spk1", "a  spk2", "sub/b  spk1", "sub/b  spk2"]
    assert [f"{s.session_id}  {s.speaker}: {s.words}".rstrip() for s in outcome.segments] == lines
    assert any(segment.words for segment in outcome.segments)


def test_one_file_or_one_file_a_recording(folder: Path, joint_folder: Path, tmp_path: Path) -> None:
    model = str(joint_folder)
    outcome = transcribe([folder], model, out=tmp_path / "all.json", decoding="greedy")
    assert transcripts.read(tmp_path / "all.json") == outcome.segments
    transcribe([folder], model, out=tmp_path / "all.stm", beam=2).check()
    assert len(meeteval.io.load(str(tmp_path / "all.stm"))) == 4
    outcome = transcribe([folder], model, out=tmp_path / "many", format="srt", decoding="greedy")
    assert outcome.written == [tmp_path / "many/a.srt", tmp_path / "many/sub/b.srt"]


def test_several_formats_with_word_times_and_names(folder: Path, joint_folder: Path, tmp_path: Path) -> None:
    settings = {"decoding": "greedy", "format": "json,ctm", "word_times": True, "speaker_names": "Anna, Ben"}
    outcome = transcribe([folder], str(joint_folder), out=tmp_path / "many", **settings)  # type: ignore[arg-type]
    outcome.check()
    assert [path.relative_to(tmp_path / "many").as_posix() for path in outcome.written] == [
        "a.json",
        "a.ctm",
        "sub/b.json",
        "sub/b.ctm",
    ]
    segments = transcripts.read(tmp_path / "many/sub/b.json")
    assert segments == outcome.segments[2:]
    assert {segment.speaker for segment in segments} == {"Anna", "Ben"}
    firsts = {segment.speaker: segment.word_times[0][0] for segment in segments if segment.word_times}
    assert list(firsts.values()) == sorted(firsts.values()) or firsts["Anna"] <= firsts["Ben"]
    words = [times for segment in segments for times in segment.word_times or ()]
    lines = (tmp_path / "many/sub/b.ctm").read_text().splitlines()
    assert [float(line.split()[2]) for line in lines] == [start for start, _ in words]


def test_nothing_is_replaced_unasked(folder: Path, joint_folder: Path, tmp_path: Path) -> None:
    model, out = str(joint_folder), tmp_path / "all.txt"
    out.write_text("mine")
    with pytest.raises(SepasrError, match=r"all\.txt: exists already; pass --overwrite to replace it"):
        transcribe([folder], model, out=out)
    assert out.read_text() == "mine"
    (tmp_path / "many").mkdir()
    (tmp_path / "many/a.json").write_text("mine")
    outcome = transcribe([folder], model, out=tmp_path / "many", decoding="greedy")
    assert outcome.written == [tmp_path / "many/sub/b.json"]
    with pytest.raises(SepasrError, match=r"1 of 2 files failed: .*a\.wav"):
        outcome.check()
    transcribe([folder], model, out=out, overwrite=True, decoding="greedy").check()
    assert "spk1" in out.read_text()


def test_a_bad_file_stops_nothing(folder: Path, joint_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.wav").write_bytes(b"no audio")
    outcome = transcribe([folder, folder / "missing.wav"], str(joint_folder), decoding="greedy")
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["sub/b  spk1", "sub/b  spk2"]
    with pytest.raises(SepasrError, match="2 of 3 files failed"):
        outcome.check()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"format": "stm"}, "--format was given without --out; pass --out with a file or a folder"),
        ({"format": "doc", "out": "x"}, "--format 'doc' is unknown; expected one of json, stm"),
        ({"format": "stm", "out": "x.json"}, "--out x.json ends in .json, --format is stm; leave one of them out"),
        ({"split": "test", "out": "x"}, "--out and --format are for audio files"),
        ({"split": "test", "speaker_names": "A,B"}, "--speaker-names is for audio files"),
        ({"speaker_names": "A,B,C"}, "--speaker-names holds 3 names, the model gives 2 speakers"),
        ({"speaker_names": "A,,B"}, "--speaker-names 'A,,B': expected different names, such as Anna,Ben"),
        ({"speaker_names": "A,A"}, "--speaker-names 'A,A': expected different names, such as Anna,Ben"),
        ({"beam": 0}, "decoding: 'beam': found 0, expected a number greater than 0"),
        ({"decoding": "magic"}, "decoding: 'method': found 'magic', expected 'beam', 'greedy' or 'attention'"),
    ],
)
def test_wrong_arguments_are_one_line(folder: Path, joint_folder: Path, given: dict[str, str], message: str) -> None:
    with pytest.raises(SepasrError) as caught:
        transcribe([folder], str(joint_folder), **given)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_a_separator_alone_is_refused(folder: Path, separator_folder: Path) -> None:
    with pytest.raises(
        SepasrError, match="holds a tfgridnet alone; transcribing takes a run directory or a joint model"
    ):
        transcribe([folder], str(separator_folder))


def test_a_split_goes_into_its_run(make_run: Callable[..., RunDir], capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(2)
    outcome = transcribe([run.path], split="test", device="cpu")
    outcome.check()
    path = run.path / "transcripts/test/transcripts.json"
    assert transcripts.read(path) == outcome.segments
    assert {segment.session_id for segment in outcome.segments} == {"test_0", "test_1"}
    assert not (path.parent / UNDER_WAY).exists()
    assert capsys.readouterr().out == ""
    assert transcribe([run.path], split="test", device="cpu").segments == outcome.segments
    transcribe([run.path], split="test", system="cascade", device="cpu").check()
    # The same weights, loaded apart.
    assert transcripts.read(run.path / "transcripts/test-cascade/transcripts.json") == outcome.segments


def test_the_cascade_is_used_where_there_is_no_joint_model(make_run: Callable[..., RunDir]) -> None:
    run = make_run(1, joint=False)
    transcribe([run.path], split="test", device="cpu").check()
    assert (run.path / "transcripts/test/transcripts.json").is_file()
    with pytest.raises(SepasrError, match="no trained model; run `sepasr joint-finetune"):
        transcribe([run.path], split="test", system="joint", device="cpu")


@pytest.mark.parametrize("spoil", [lambda text: text[:-20], lambda text: text.splitlines()[0] + '\n{"id": "x"}\n[]\n'])
def test_a_split_goes_on_where_it_stopped(make_run: Callable[..., RunDir], spoil: Callable[[str], str]) -> None:
    """As after a crash: one mixture failed, and the last lines of those done were cut off or are something else."""
    run = make_run()
    good = (run.data / "test/test_1.flac").read_bytes()
    (run.data / "test/test_1.flac").write_bytes(b"damaged")
    outcome = transcribe([run.path], split="test", device="cpu")
    assert list(outcome.failures) == [str(run.data / "test/test_1.flac")]
    under_way = run.path / "transcripts/test" / UNDER_WAY
    assert len(under_way.read_text().splitlines()) == 2
    under_way.write_text(spoil(under_way.read_text()))
    (run.data / "test/test_1.flac").write_bytes(good)
    outcome = transcribe([run.path], split="test", device="cpu")
    outcome.check()
    assert list(dict.fromkeys(segment.session_id for segment in outcome.segments)) == ["test_0", "test_1", "test_2"]
    assert not under_way.exists()


def test_whole_streams_are_what_the_model_hears(folder: Path, joint_folder: Path) -> None:
    path = sorted(folder.glob("*.wav"))[0]
    samples = torch.from_numpy(audio.read(path)[0])[None]
    model = JointModel.from_pretrained(str(joint_folder))
    expected = [said.text for said in model.transcribe(samples, decoding=DecodingConfig(method="greedy"))[0][0]]
    outcome = transcribe([path], model=str(joint_folder), decoding="greedy", whole=True)
    assert [segment.words for segment in outcome.segments] == [text for text in expected if text]
    assert {(one.start_time, one.end_time) for one in outcome.segments} == {(0.0, samples.shape[2] / 8000)}


@pytest.mark.parametrize("out", ["texts", "all.json"])
def test_an_interrupted_command_goes_on_with_the_files_not_done(
    folder: Path,
    joint_folder: Path,
    tmp_path: Path,
    out: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(self: Pipeline, recording: Recording, session: str, *rest: object) -> list[Segment]:
        if session != "a":
            raise KeyboardInterrupt
        return transcribed(self, recording, session)

    transcribed = Pipeline.transcribe
    settings = {"model": str(joint_folder), "out": tmp_path / "new" / out, "decoding": "greedy", "device": "cpu"}
    whole = transcribe([folder], **(settings | {"out": None})).segments  # type: ignore[arg-type]
    monkeypatch.setattr(Pipeline, "transcribe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        transcribe([folder], **settings)  # type: ignore[arg-type]
    sessions = []

    def counted(self: Pipeline, recording: Recording, session: str, *rest: object) -> list[Segment]:
        sessions.append(session)
        return transcribed(self, recording, session)

    monkeypatch.setattr(Pipeline, "transcribe", counted)
    capsys.readouterr()
    outcome = transcribe([folder], **settings)  # type: ignore[arg-type]
    outcome.check()
    assert sessions == ["sub/b"] and outcome.segments == whole
    assert "1 of 2 files are done, going on" in capsys.readouterr().err
    made = [path for path in (tmp_path / "new").rglob("*") if path.is_file()]
    assert [path.name for path in sorted(made)] == (["a.json", "b.json"] if out == "texts" else ["all.json"])


def test_a_file_of_ours_is_done_and_one_of_theirs_is_in_the_way(
    folder: Path, joint_folder: Path, tmp_path: Path
) -> None:
    """One bad file among two: run again with it mended, the other is not done anew, whatever is asked in its place."""
    good = (folder / "a.wav").read_bytes()
    (folder / "a.wav").write_bytes(b"no audio")
    settings = {"model": str(joint_folder), "out": tmp_path / "out", "decoding": "greedy", "device": "cpu"}
    assert list(transcribe([folder], **settings).failures) == [str(folder / "a.wav")]  # type: ignore[arg-type]
    (folder / "a.wav").write_bytes(good)
    other = transcribe([folder], **(settings | {"speakers": 1}))  # type: ignore[arg-type]
    assert list(other.failures) == [str(folder / "sub/b.wav")] and "exists already" in next(
        iter(other.failures.values())
    )
    (tmp_path / "out/a.json").unlink()
    transcribe([folder], **settings).check()  # type: ignore[arg-type]
