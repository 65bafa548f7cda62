"""The command: whole examples, the same bytes however they came about, and one line where something is wrong."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sepasr_cli import audio
from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import BankRoom, Mixture, Utterance, read_manifest, write_manifest
from sepasr_cli.rundir import RunDir
from sepasr_cli.settings import validate
from sepasr_cli.simulation.config import SimulationConfig
from sepasr_cli.simulation.rendering import ResponseBank, render
from sepasr_cli.stages.simulate import make_response_bank, simulate, simulate_split

RATE = 8000


def make_speech(folder: Path, names: tuple[str, ...] = ("ann", "bob", "cid")) -> list[Utterance]:
    """Two utterances of each speaker, as a corpus of layout `folder`."""
    rng = np.random.default_rng(0)
    found = []
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(2):
            path = folder / name / f"{name}{number}.wav"
            soundfile.write(path, 0.1 * rng.standard_normal(4000 + 300 * number), RATE, subtype="PCM_16")
            path.with_suffix(".txt").write_text(f"{name} {number}")
            found.append(
                Utterance(
                    id=path.stem,
                    audio=path,
                    speaker=name,
                    text=path.stem,
                    sample_rate=RATE,
                    duration=audio.info(path).duration,
                )
            )
    return found


def config_of(**values: object) -> SimulationConfig:
    small = {
        "mixtures": {"train": 4, "dev": 0, "test": 4},
        "room": {"size": [5, 4, 2.6], "t60": 0.1},
        "noise": {"kind": "diffuse"},
    }
    return validate(SimulationConfig, {**small, **values}, "recipe")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def heed_ctrl_c() -> None:
    """Undo what a shell does to work in the background, which then would not hear of Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return make_speech(tmp_path_factory.mktemp("speech"))


@pytest.fixture(scope="module")
def made(speech: list[Utterance], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    simulate_split(speech, config_of(), "test", 0, RATE, folder)
    return folder


def test_what_is_there(made: Path) -> None:
    mixtures = read_manifest(made / "test.jsonl", Mixture)
    assert [mixture.id for mixture in mixtures] == [f"test_0000{index}" for index in range(4)]
    names = {path.name for path in (made / "test/test_00002").iterdir()}
    references = {f"s{s}_{kind}.flac" for s in (1, 2) for kind in ("direct", "early", "image")}
    assert names == references | {"mixture.flac", "noise.flac", "example.json"}
    for mixture in mixtures:
        sound, rate = audio.read(made / mixture.audio)
        assert (sound.shape, rate) == ((2, round(mixture.duration * RATE)), RATE)
        assert mixture.noise_audio is not None
        total = audio.read(made / mixture.noise_audio)[0][0]
        for source in mixture.sources:
            assert source.image is not None
            total = total + audio.read(made / source.image)[0][0]
            assert source.gain != 1
        # Four signals, each rounded to 16 bits.
        np.testing.assert_allclose(sound[0], total, atol=4 * 0.5 / 32768 + 1e-6)


def test_a_line_rendered_alone_is_the_same_as_its_files(made: Path, speech: list[Utterance]) -> None:
    mixture = read_manifest(made / "test.jsonl", Mixture)[3]
    alone = render(mixture, {utterance.id: utterance for utterance in speech})
    np.testing.assert_allclose(audio.read(made / mixture.audio)[0], alone.mixture, atol=0.6 / 32768)
    assert alone.gains == pytest.approx([source.gain for source in mixture.sources])


def test_two_workers_write_the_same_bytes(made: Path, speech: list[Utterance], tmp_path: Path) -> None:
    simulate_split(speech, config_of(), "test", 0, RATE, tmp_path, workers=2)
    assert contents(tmp_path) == contents(made)


def test_what_was_interrupted_is_completed_to_the_same_bytes(
    made: Path, speech: list[Utterance], tmp_path: Path
) -> None:
    expected = contents(made)
    folder = tmp_path / "data"
    shutil.copytree(made, folder)
    (folder / "test.jsonl").unlink()
    (folder / "test/test_00000/s1_early.flac").unlink()
    (folder / "test/test_00001/mixture.flac").write_bytes(b"fLaC")
    shutil.rmtree(folder / "test/test_00002")
    (folder / "test/.test_00002").mkdir()
    (folder / "test/.test_00002/mixture.flac").write_bytes(b"half")
    kept = (folder / "test/test_00003/mixture.flac").stat().st_mtime_ns
    simulate_split(speech, config_of(), "test", 0, RATE, folder)
    assert contents(folder) == expected
    assert (folder / "test/test_00003/mixture.flac").stat().st_mtime_ns == kept


def test_other_parameters_are_made_again(made: Path, speech: list[Utterance], tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(made, folder)
    simulate_split(speech, config_of(noise=None), "test", 0, RATE, folder)
    assert not list(folder.rglob("noise.flac"))
    assert read_manifest(folder / "test.jsonl", Mixture)[0].noise is None


def test_shards_join_to_the_same_bytes(made: Path, speech: list[Utterance], tmp_path: Path) -> None:
    second = simulate_split(speech, config_of(), "test", 0, RATE, tmp_path, shard=(2, 3))
    assert [mixture.id for mixture in second] == ["test_00001"]
    simulate_split(speech, config_of(), "test", 0, RATE, tmp_path, shard=(3, 3))
    assert not (tmp_path / "test.jsonl").exists()
    simulate_split(speech, config_of(), "test", 0, RATE, tmp_path, shard=(1, 3))
    for part in (1, 2, 3):
        (tmp_path / f"test.{part}-of-3.jsonl").unlink()
    assert contents(tmp_path) == contents(made)


def test_shards_of_other_settings_do_not_join(speech: list[Utterance], tmp_path: Path) -> None:
    simulate_split(speech, config_of(noise=None), "test", 0, RATE, tmp_path, shard=(1, 2))
    simulate_split(speech, config_of(), "test", 0, RATE, tmp_path, shard=(2, 2))
    assert not (tmp_path / "test.jsonl").exists()


def test_wav_and_chosen_references(speech: list[Utterance], tmp_path: Path) -> None:
    config = config_of(format="wav", references=["early"], noise=None, mixtures={"test": 1})
    simulate_split(speech, config, "test", 0, RATE, tmp_path)
    names = {path.name for path in (tmp_path / "test/test_00000").iterdir()}
    assert names == {"mixture.wav", "s1_early.wav", "s2_early.wav", "example.json"}


def test_broken_utterances_stop_or_are_skipped(speech: list[Utterance], tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    soundfile.write(broken, np.zeros(4000), RATE)
    corpus = [speech[0].model_copy(update={"audio": broken, "duration": 0.5}), *speech[1:]]
    with pytest.raises(SepasrError, match="utterance 'ann0' is silent"):
        simulate_split(corpus, config_of(), "test", 0, RATE, tmp_path / "data")
    left = simulate_split(corpus, config_of(), "test", 0, RATE, tmp_path / "data", skip_bad=True)
    assert 0 < len(left) < 4
    assert all("ann0" not in {source.utterance for source in mixture.sources} for mixture in left)
    with pytest.raises(SepasrError, match="no mixture could be made"):
        all_broken = [u.model_copy(update={"audio": broken, "duration": 0.5}) for u in speech]
        simulate_split(all_broken, config_of(), "test", 0, RATE, tmp_path / "none", skip_bad=True)


def test_a_folder_that_cannot_be_written(speech: list[Utterance], tmp_path: Path) -> None:
    (tmp_path / "test").write_text("a file")
    with pytest.raises(SepasrError, match=r"test/test_00000: cannot be written \(.*\); run the command again"):
        simulate_split(speech, config_of(), "test", 0, RATE, tmp_path)


def test_response_bank(tmp_path: Path) -> None:
    make_response_bank(config_of(response_bank=2), 0, RATE, tmp_path)
    before = contents(tmp_path)
    assert [room.id for room in read_manifest(tmp_path / "responses.jsonl", BankRoom)] == ["room_00000", "room_00001"]
    bank = ResponseBank.open(tmp_path)
    assert bank.draw(np.random.default_rng(0)).image.shape[:2] == (2, 2)
    (tmp_path / "responses/room_00001.npz").write_bytes(b"")
    make_response_bank(config_of(response_bank=2), 0, RATE, tmp_path)
    assert contents(tmp_path) == before


def write_recipe(folder: Path, corpora: dict[str, str], **simulation: object) -> Path:
    small = config_of(mixtures={"train": 2, "dev": 0, "test": 2}, **simulation)
    corpus = {split: [{"kind": "folder", "path": path}] for split, path in corpora.items()}
    recipe = {"sample_rate": RATE, "corpora": corpus, "simulation": small.model_dump(mode="json")}
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe))
    return path


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_speech(tmp_path / "train")
    make_speech(tmp_path / "test", ("dan", "eve"))
    recipe = write_recipe(tmp_path, {"train": "train", "test": "test"})
    run = RunDir(tmp_path / "run")
    simulate(run.path, recipe=recipe, overrides=["simulation.response_bank=1"])
    assert {mixture.seed for mixture in read_manifest(run.manifest("train"), Mixture)} == {0}
    assert len(read_manifest(run.manifest("test"), Mixture)) == 2
    assert run.status("data") == "finished"
    assert ResponseBank.open(run.data).rooms
    before = contents(run.path)

    # Again, with nothing changed and the recipe that the run keeps.
    simulate(run.path)
    assert "already done" in capsys.readouterr().err
    assert contents(run.path) == before

    # A manifest that was lost is written again.
    run.manifest("test").unlink()
    simulate(run.path)
    assert contents(run.path) == before

    with pytest.raises(SepasrError, match=r"made with simulation\.level_dbfs = -25\.0, now -30\.0; pass --restart"):
        simulate(run.path, overrides=["simulation.level_dbfs=-30"])
    assert run.recipe().simulation.level_dbfs == -25
    # More of the same keeps what is there.
    simulate(run.path, overrides=["simulation.mixtures.test=3"])
    assert len(read_manifest(run.manifest("test"), Mixture)) == 3
    assert (run.data / "test/test_00000/mixture.flac").read_bytes() == before["data/test/test_00000/mixture.flac"]

    for values, said in (
        ({"shard": (3, 2)}, "shard 3/2: expected i/n with i from 1 to n"),
        ({"workers": 0}, "0 workers; at least 1 is needed"),
        ({"overrides": ["corpora.test=[]", "corpora.train=[]"]}, "names no corpus"),
        ({"overrides": ["simulation.min_duration=0.6"]}, "train: 0 speakers with 0 utterances"),
    ):
        with pytest.raises(SepasrError, match=said):
            simulate(run.path, restart=True, **values)  # type: ignore[arg-type]
    assert run.status("data") == "finished"


def test_shards_of_the_command(tmp_path: Path) -> None:
    make_speech(tmp_path / "train")
    recipe = write_recipe(tmp_path, {"train": "train"})
    for part in (1, 2):
        assert not RunDir(tmp_path / "run").manifest("train").exists()
        simulate(tmp_path / "run", recipe=recipe, shard=(part, 2))
    assert len(read_manifest(RunDir(tmp_path / "run").manifest("train"), Mixture)) == 2


def test_speakers_of_two_splits_are_refused(tmp_path: Path) -> None:
    make_speech(tmp_path / "speech")
    recipe = write_recipe(tmp_path, {"train": "speech", "test": "speech"})
    with pytest.raises(SepasrError, match="3 speakers are in both train and test: ann, bob, cid"):
        simulate(tmp_path / "run", recipe=recipe)


_LONG = """
from pathlib import Path
from sepasr_cli.manifest import Utterance, read_manifest
from sepasr_cli.settings import validate
from sepasr_cli.simulation.config import SimulationConfig
from sepasr_cli.stages.simulate import simulate_split

if __name__ == "__main__":
    folder = Path({folder!r})
    config = validate(SimulationConfig, dict(mixtures=dict(test=2000), room=dict(t60=0.3)), "recipe")
    simulate_split(read_manifest(folder / "speech.jsonl", Utterance), config, "test", 0, 8000, folder, workers=2)
"""


def test_ctrl_c_ends_soon_and_leaves_whole_examples(speech: list[Utterance], tmp_path: Path) -> None:
    write_manifest(tmp_path / "speech.jsonl", speech)
    (tmp_path / "long.py").write_text(_LONG.format(folder=str(tmp_path)))
    process = subprocess.Popen(
        [sys.executable, tmp_path / "long.py"], stderr=subprocess.PIPE, start_new_session=True, preexec_fn=heed_ctrl_c
    )
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("test/test_*"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert process.returncode != 0
    assert not (tmp_path / "test.jsonl").exists()
    assert not list(tmp_path.glob("test/.*"))
    for place in tmp_path.glob("test/test_*"):
        assert len(list(place.iterdir())) == 8
