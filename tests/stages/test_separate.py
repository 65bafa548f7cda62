"""`separate` on files, folders and a run's split, and what bad input gives."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from torch import Tensor

from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import Separated, read_manifest
from sepasr_cli.rundir import RunDir
from sepasr_cli.separation import TFGridNet
from sepasr_cli.stages.separate import separate

RATE = 8000


def write(path: Path, samples: np.ndarray, rate: int = RATE, **options: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples.T, rate, **options)
    return path


def test_a_folders_tree_is_mirrored(tmp_path: Path, separator_folder: Path, talkers: np.ndarray) -> None:
    write(tmp_path / "in/a.wav", talkers, 16000)
    write(tmp_path / "in/sub/b.flac", talkers[:, :5000], 44100)
    out = tmp_path / "out"
    outcome = separate([tmp_path / "in"], str(separator_folder), out, device="cpu")
    outcome.check()
    made = {path.relative_to(out).as_posix(): soundfile.info(path) for path in sorted(out.rglob("*.wav"))}
    assert sorted(outcome.written) == sorted(out / name for name in made)
    assert {name: (info.samplerate, info.frames, info.channels) for name, info in made.items()} == {
        "a_spk1.wav": (16000, 12000, 1),
        "a_spk2.wav": (16000, 12000, 1),
        "sub/b_spk1.wav": (44100, 5000, 1),
        "sub/b_spk2.wav": (44100, 5000, 1),
    }


def test_equal_names_do_not_replace_each_other(tmp_path: Path, separator_folder: Path, talkers: np.ndarray) -> None:
    paths = [write(tmp_path / f"a.{ending}", talkers) for ending in ("wav", "flac")]
    separate(paths, str(separator_folder), tmp_path / "out").check()
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a.flac_spk1.wav", "a.flac_spk2.wav", "a.wav_spk1.wav", "a.wav_spk2.wav"]


def test_nothing_is_replaced_unasked(tmp_path: Path, separator_folder: Path, talkers: np.ndarray) -> None:
    path, out = write(tmp_path / "a.wav", talkers), tmp_path / "out"
    separate([path], str(separator_folder), out).check()
    before = (out / "a_spk1.wav").read_bytes()
    (out / "a_spk1.wav").write_bytes(b"mine")
    with pytest.raises(SepasrError, match=r"a_spk1\.wav: exists already; pass --overwrite to replace it"):
        separate([path], str(separator_folder), out).check()
    assert (out / "a_spk1.wav").read_bytes() == b"mine"
    separate([path], str(separator_folder), out, overwrite=True).check()
    assert (out / "a_spk1.wav").read_bytes() == before


def truncated(path: Path, samples: np.ndarray) -> Path:
    write(path, samples)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def with_bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


#: Bad inputs: a file's name, what makes it, and the line it gives.
BAD: dict[str, tuple[Callable[[Path, np.ndarray], object], str]] = {
    "missing.wav": (lambda path, x: None, "no such file; check the path"),
    "empty.wav": (lambda path, x: with_bytes(path, b""), "the file is empty; expected audio"),
    "text.wav": (
        lambda path, x: with_bytes(path, b"hello\n" * 99),
        "not an audio file that can be read; expected WAV, FLAC, OGG, MP3 or NIST SPHERE",
    ),
    "cut.flac": (truncated, "the audio is damaged or truncated; copy the file again"),
    "cut.wav": (truncated, "truncated, 24022 bytes found where 48044 were announced; copy it again"),
    "nan.wav": (
        lambda path, x: write(path, np.where(x > 0.3, np.nan, x), subtype="FLOAT"),
        "holds NaN or infinite samples; write the file again from its source",
    ),
    "silent.wav": (
        lambda path, x: write(path, 0 * x),
        "silent, no sample above 1e-05; expected speech, check the recording",
    ),
    "short.wav": (
        lambda path, x: write(path, x[:, :10]),
        "too short, 10 samples at 8000 Hz found, expected at least 0.1 s",
    ),
    "mono.wav": (
        lambda path, x: write(path, x[:1]),
        "1 channel found, the model needs 2; use a model of 1 microphone (--model), "
        "or repeat channels at a loss of quality (--channels 1,1)",
    ),
    "four.wav": (
        lambda path, x: write(path, np.concatenate([x, x])),
        "4 channels found, the model needs 2; choose with --channels, such as --channels 1,2",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line_and_stops_nothing(
    tmp_path: Path, separator_folder: Path, talkers: np.ndarray, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = BAD[name]
    bad, good = tmp_path / name, write(tmp_path / "good.wav", talkers)
    make(bad, talkers)
    out = tmp_path / "out"
    with pytest.raises(SepasrError) as alone:
        separate([bad], str(separator_folder), out).check()
    assert str(alone.value) == f"{bad}: {message}"
    outcome = separate([bad, good], str(separator_folder), out)
    assert sorted(path.name for path in out.glob("[!.]*")) == ["good_spk1.wav", "good_spk2.wav"]
    with pytest.raises(SepasrError) as together:
        outcome.check()
    assert str(together.value) == f"1 of 2 files failed: {bad}"
    assert f"{bad}: {message}\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"split": "test"}, "holds no recipe.yaml; expected a run directory"),
        ({"split": "test", "out": "x"}, "--out is for files and folders; a split's results go into the run directory"),
        ({"channels": "one"}, "--channels 'one': expected numbers from 1, parted by commas, such as 1,3"),
        ({"device": "tpu"}, "device 'tpu' is not known; expected one of auto, cpu, cuda, mps"),
        ({"model": "/no/such/model"}, "model '/no/such/model': no such folder"),
    ],
)
def test_wrong_arguments_are_one_line(
    tmp_path: Path, separator_folder: Path, talkers: np.ndarray, given: dict[str, str], message: str
) -> None:
    write(tmp_path / "a.wav", talkers)
    with pytest.raises(SepasrError) as caught:
        separate([tmp_path], **({"model": str(separator_folder), "out": None} | given))  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_split_goes_into_its_run(make_run: Callable[..., RunDir], capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run()
    outcome = separate([run.path], split="test", device="cpu")
    outcome.check()
    folder = run.path / "separated/test"
    listed = read_manifest(folder / "separated.jsonl", Separated)
    assert [item.audio for item in listed] == [(f"test_{n}_spk1.wav", f"test_{n}_spk2.wav") for n in range(3)]
    assert all(soundfile.info(folder / name).frames == RATE for item in listed for name in item.audio)
    assert json.loads((folder / "stage.json").read_text())["status"] == "finished"
    capsys.readouterr()
    assert separate([run.path], split="test", device="cpu").written == []
    assert "already done, nothing has changed" in capsys.readouterr().err.replace("\n", " ")
    separate([run.path], split="test", system="cascade", device="cpu").check()
    assert (run.path / "separated/test-cascade/separated.jsonl").is_file()


def test_a_split_goes_on_where_it_stopped(make_run: Callable[..., RunDir]) -> None:
    run = make_run()
    good = (run.data / "test/test_1.flac").read_bytes()
    (run.data / "test/test_1.flac").write_bytes(b"damaged")
    outcome = separate([run.path], split="test", device="cpu")
    with pytest.raises(SepasrError, match=r"1 of 3 files failed: .*test_1\.flac"):
        outcome.check()
    folder = run.path / "separated/test"
    assert [item.id for item in read_manifest(folder / "separated.jsonl", Separated)] == ["test_0", "test_2"]
    first = (folder / "test_0_spk1.wav").stat().st_mtime_ns
    (run.data / "test/test_1.flac").write_bytes(good)
    separate([run.path], split="test", device="cpu").check()
    assert len(read_manifest(folder / "separated.jsonl", Separated)) == 3
    assert (folder / "test_0_spk1.wav").stat().st_mtime_ns == first


def test_another_model_asks_to_begin_again(make_run: Callable[..., RunDir]) -> None:
    run = make_run()
    separate([run.path], split="test", device="cpu").check()
    config = run.path / "joint/config.json"
    config.write_text(config.read_text().replace('"reference_microphone": 0', '"reference_microphone": 1'))
    with pytest.raises(SepasrError, match=r"was made with other inputs \(model\); pass --restart"):
        separate([run.path], split="test", device="cpu")
    separate([run.path], split="test", device="cpu", restart=True).check()
    assert (run.path / "separated/test.1/separated.jsonl").is_file()


def test_a_run_moved_elsewhere_still_works(make_run: Callable[..., RunDir], tmp_path: Path) -> None:
    run = make_run(1)
    shutil.move(run.path, tmp_path / "elsewhere")
    separate([tmp_path / "elsewhere"], split="test", device="cpu").check()


def test_a_missing_split_says_which_there_are(make_run: Callable[..., RunDir]) -> None:
    run = make_run(1)
    with pytest.raises(SepasrError, match=r"no mixtures of split 'dev' \(found test\); run `sepasr simulate"):
        separate([run.path], split="dev")


def test_windows_are_joined_and_what_is_known_of_them_is_told(
    tmp_path: Path, separator_folder: Path, talkers: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "long.wav", np.tile(talkers, 28), 8000)
    out = tmp_path / "out"
    separate([tmp_path / "long.wav"], str(separator_folder), out, speakers=1, device="cpu").check()
    assert sorted(path.name for path in out.iterdir()) == ["long_joins.json", "long_spk1.wav"]
    assert soundfile.info(out / "long_spk1.wav").frames == 28 * 12000
    record = json.loads((out / "long_joins.json").read_text())
    assert [join["start"] for join in record["joins"]] == [16.0, 22.0]
    assert all(0 <= join["confidence"] <= 1 and sorted(join["order"]) == [0, 1] for join in record["joins"])
    assert "with most speech kept" in capsys.readouterr().err or min(record["spoken"]) == 0


def test_an_interrupted_separation_leaves_nothing_behind(
    tmp_path: Path, separator_folder: Path, talkers: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "long.wav", np.tile(talkers, 28), 8000)
    forward, calls = TFGridNet.forward, []

    def interrupted(self: TFGridNet, mixture: Tensor, lengths: Tensor | None = None) -> Tensor:
        calls.append(len(mixture))
        raise KeyboardInterrupt

    monkeypatch.setattr(TFGridNet, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        separate([tmp_path / "long.wav"], str(separator_folder), tmp_path / "out", device="cpu")
    assert calls and list((tmp_path / "out").iterdir()) == []
    monkeypatch.setattr(TFGridNet, "forward", forward)


def test_what_replaces_older_results_leaves_none_of_them(
    tmp_path: Path, separator_folder: Path, talkers: np.ndarray
) -> None:
    path, out = write(tmp_path / "a.wav", talkers), tmp_path / "out"
    separate([path], str(separator_folder), out).check()
    assert (out / "a_spk2.wav").is_file()
    separate([path], str(separator_folder), out, speakers=1, overwrite=True).check()
    assert [path.name for path in out.iterdir()] == ["a_spk1.wav"]
