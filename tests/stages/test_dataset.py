"""Runs on published sets: nothing is copied, every command works, and the link leads where the recipe says alone."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import sepasr_cli
from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import Mixture, read_manifest
from sepasr_cli.rundir import RunDir
from sepasr_cli.stages.simulate import simulate

Publish = Callable[..., Path]

MODELS = """
sample_rate: {rate}
separation: {{kind: {separator}, fft_size: 64, hop: 32, {sizes}}}
recognition:
  features: {{kind: filterbank, mels: 20, fft_size: 256, hop: 80}}
  specaugment: null
  encoder: {{blocks: 1, size: 16, heads: 2, feed_forward: 16, kernel: 3}}
  decoder: {{blocks: 1, heads: 2, feed_forward: 16}}
pretrain_sep: {{reference: {reference}, max_steps: 1, batch_size: 1, segment_seconds: 0.3}}
pretrain_asr: {{speech: [{speech}], max_steps: 1, batch_size: 2, warmup_steps: 1}}
joint_finetune: {{reference: {reference}, max_steps: 1, batch_size: 1, accumulation: 1}}
decoding: {{method: greedy}}
scoring: {{reference: {reference}}}
"""
SIZES = {
    "tfgridnet": "blocks: 1, embedding: 4, lstm: 4, heads: 2, qk_size: 66",
    "mask_mvdr": "layers: 1, lstm: 4, projection: 4",
}


def write_recipe(
    folder: Path, dataset: str, separator: str = "tfgridnet", reference: str = "image", **more: str
) -> Path:
    values = {"rate": "8000", "speech": reference, **more}
    path = folder / "recipe.yaml"
    models = MODELS.format(separator=separator, sizes=SIZES[separator], reference=reference, **values)
    path.write_text(f"dataset: {dataset}\n{models}")
    return path


@pytest.mark.parametrize(
    "kind, dataset, separator, reference, rate",
    [
        ("wsj0_2mix", "{kind: wsj0_2mix, path: data, transcripts: data/wsj0}", "tfgridnet", "image", 8000),
        ("whamr", "{kind: whamr, path: data, transcripts: data/wsj0}", "mask_mvdr", "direct", 8000),
        ("librimix", "{kind: librimix, path: data, transcripts: data/LibriSpeech}", "tfgridnet", "early", 16000),
        ("sms_wsj", "{kind: sms_wsj, path: data, microphone: 1}", "mask_mvdr", "early", 8000),
    ],
)
def test_every_command(
    publish: Publish, tmp_path: Path, kind: str, dataset: str, separator: str, reference: str, rate: int
) -> None:
    publish(kind, tmp_path / "data", rate)
    before = sorted(tmp_path.joinpath("data").rglob("*"))
    run = RunDir(tmp_path / "run")
    simulate(run.path, recipe=write_recipe(tmp_path, dataset, separator, reference, rate=str(rate)))
    sepasr_cli.pretrain_sep(run.path)
    sepasr_cli.pretrain_asr(run.path)
    sepasr_cli.joint_finetune(run.path)
    for system in (None, "cascade"):
        sepasr_cli.separate([run.path], split="test", system=system).check()
        sepasr_cli.transcribe([run.path], split="test", system=system).check()
        summary = sepasr_cli.score(run.path, system=system)
        assert summary["counts"]["recordings"] == 1
        assert summary["si_sdr"] is not None and summary["wer"] is not None
    described = sepasr_cli.info(run.path)
    assert [one["mixtures"] for one in described["data"] if one["split"] == "test"] == [1]
    sepasr_cli.report([run.path], out=tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("<audio") >= 5 and "leads out of" not in page
    assert sorted(tmp_path.joinpath("data").rglob("*")) == before
    assert not list(run.data.rglob("*.wav"))


def test_a_run_says_that_it_is_done_and_can_be_moved(
    publish: Publish, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish("whamr", tmp_path / "data")
    recipe = write_recipe(tmp_path, "{kind: whamr, path: data}")
    run = RunDir(tmp_path / "run")
    simulate(run.path, recipe=recipe)
    assert f"2 of train, 1 of dev, 1 of test; the audio stays in {tmp_path / 'data'}" in (
        capsys.readouterr().err.replace("\n", "")
    )
    manifest = run.manifest("train").read_bytes()
    simulate(run.path)
    assert "already done, nothing has changed" in capsys.readouterr().err
    with pytest.raises(SepasrError, match=r"made with dataset\.room = 'reverberant', now 'anechoic'; pass --restart"):
        simulate(run.path, overrides=["dataset.room=anechoic"])

    moved = RunDir(tmp_path / "elsewhere" / "run")
    shutil.move(tmp_path / "data", tmp_path / "elsewhere" / "data")
    shutil.move(run.path, moved.path)
    with pytest.raises(SepasrError, match=r"data, which is not there; the recipe's dataset is in .*--set root=FOLDER"):
        moved.require_manifest("train")
    simulate(moved.path, overrides=[f"root={tmp_path / 'elsewhere'}"])
    assert "already done, nothing has changed" in capsys.readouterr().err
    assert moved.require_manifest("train").read_bytes() == manifest
    mixture = read_manifest(moved.manifest("test"), Mixture)[0]
    assert (moved.data / mixture.audio).is_file()

    # The set has changed since.
    (
        tmp_path
        / "elsewhere/data/wav8k/max/tr/mix_both_reverb"
        / f"{read_manifest(moved.manifest('train'), Mixture)[0].id}.wav"
    ).unlink()
    with pytest.raises(SepasrError, match="1 without a file in every folder"):
        simulate(moved.path)
    with pytest.raises(SepasrError, match=r"made with other inputs \(mixtures of train\)"):
        simulate(moved.path, skip_bad=True)


def test_a_link_leads_where_the_recipe_says(publish: Publish, tmp_path: Path) -> None:
    publish("whamr", tmp_path / "data")
    run = RunDir(tmp_path / "run")
    simulate(run.path, recipe=write_recipe(tmp_path, "{kind: whamr, path: data}"))
    link = run.data / "dataset"
    assert os.readlink(link) == str(tmp_path / "data")
    link.unlink()
    link.symlink_to(tmp_path)
    with pytest.raises(SepasrError, match=r"dataset: leads to .*; the recipe's dataset is in .*; run `sepasr s"):
        run.require_manifest("test")
    simulate(run.path)
    run.require_manifest("test")
    recipe = run.recipe_path.read_text()
    run.recipe_path.write_text("seed: 0\n")
    with pytest.raises(SepasrError, match="the recipe names no dataset; remove the link"):
        run.require_manifest("test")
    run.recipe_path.write_text(recipe)
    link.unlink()
    link.mkdir()
    with pytest.raises(SepasrError, match="is in the way of the link to"):
        simulate(run.path)


@pytest.mark.parametrize("name", ["dataset/../../../etc/passwd", "other/x.wav", "/etc/passwd", "dataset/../../x.wav"])
def test_a_manifest_leads_nowhere_else(publish: Publish, tmp_path: Path, name: str) -> None:
    publish("whamr", tmp_path / "data")
    run = RunDir(tmp_path / "run")
    simulate(run.path, recipe=write_recipe(tmp_path, "{kind: whamr, path: data}"))
    (run.data / "other").symlink_to(tmp_path)
    line = json.loads(run.manifest("test").read_text())
    run.manifest("test").write_text(json.dumps(line | {"audio": name}))
    with pytest.raises(SepasrError, match=r"test\.jsonl:1: path '.*' leads out of"):
        read_manifest(run.manifest("test"), Mixture)


def test_a_set_for_evaluation_alone(publish: Publish, tmp_path: Path, joint_folder: Path) -> None:
    publish("libricss", tmp_path / "data", 16000)
    dataset = "{kind: libricss, path: data, conditions: [OV10], sessions: {test: [0, 1]}}"
    run = RunDir(tmp_path / "run")
    simulate(run.path, recipe=write_recipe(tmp_path, dataset, rate="16000"))
    assert not run.manifest("train").exists()
    assert [mixture.id for mixture in read_manifest(run.manifest("test"), Mixture)] == [
        "OV10_session0",
        "OV10_session1",
    ]


@pytest.mark.parametrize(
    "dataset, reference, said",
    [
        (
            "{kind: whamr, path: data}",
            "early",
            "pretrain_sep.reference is early, the dataset has direct, image; ",
        ),
        ("{kind: wham, path: data}", "image", "'dataset.kind': found 'wham', expected one of 'wsj0_2mix', 'whamr', "),
        ("{kind: whamr, path: data, rooms: x}", "image", "unknown key 'dataset.rooms', is room meant?"),
        ("{kind: whamr}", "image", "'dataset.path' is missing; add it"),
    ],
)
def test_recipes_that_do_not_fit(tmp_path: Path, dataset: str, reference: str, said: str) -> None:
    with pytest.raises(SepasrError, match=said.replace(".", r"\.").replace("?", r"\?")):
        simulate(tmp_path / "run", recipe=write_recipe(tmp_path, dataset, reference=reference))
    assert not (tmp_path / "run").exists()


TINY = [
    "sample_rate=8000",
    "dataset.transcripts=data/wsj0",
    "separation.fft_size=64",
    "separation.hop=32",
    "recognition.features.mels=20",
    "recognition.features.fft_size=256",
    "recognition.features.hop=80",
    "recognition.specaugment=null",
    "recognition.encoder={blocks: 1, size: 16, heads: 2, feed_forward: 16, kernel: 3}",
    "recognition.decoder={blocks: 1, heads: 2, feed_forward: 16}",
    "pretrain_sep={reference: image, max_steps: 1, batch_size: 1, segment_seconds: 0.3}",
    "pretrain_asr={speech: [image], max_steps: 1, batch_size: 2, warmup_steps: 1}",
    "joint_finetune={reference: image, max_steps: 1, batch_size: 1, accumulation: 1}",
    "decoding.method=greedy",
]


def test_the_rows_of_a_comparison(publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of recipes/wsj0_2mix_spatialized/README.md, on tiny models and a set in small."""
    recipes = Path(__file__).parents[2] / "recipes/wsj0_2mix_spatialized"
    monkeypatch.chdir(tmp_path)
    publish("wsj0_2mix", tmp_path / "data/wsj0-mix").joinpath("wsj0").rename(tmp_path / "data/wsj0")
    sizes = "separation={kind: mask_mvdr, fft_size: 64, hop: 32, layers: 1, lstm: 4, projection: 4}"
    rooted = ["root=.", *TINY, sizes, "dataset.path=data/wsj0-mix"]
    simulate("runs/wsj0", recipe=recipes / "mask_mvdr_filterbank.yaml", overrides=rooted)
    trained = read_manifest(RunDir("runs/wsj0").require_manifest("train"), Mixture)
    assert len(trained) == 4 and {mixture.id.rpartition("_")[2] for mixture in trained} == {"anechoic", "reverberant"}
    sepasr_cli.pretrain_sep("runs/wsj0")
    sepasr_cli.pretrain_asr("runs/wsj0")
    sepasr_cli.joint_finetune("runs/wsj0")
    simulate("runs/dry", recipe=recipes / "mask_mvdr_filterbank_anechoic.yaml", overrides=rooted)
    rooms = {}
    for run, model in (("runs/wsj0", None), ("runs/dry", "runs/wsj0")):
        for system in (None, "cascade"):
            sepasr_cli.transcribe([run], split="test", model=model, system=system).check()
            sepasr_cli.separate([run], split="test", model=model, system=system).check()
            summary = sepasr_cli.score(run, system=system)
            assert summary["wer"] is not None and summary["sdr"] is not None
        (mixture,) = read_manifest(RunDir(run).require_manifest("test"), Mixture)
        rooms[run] = mixture.audio.split("/")[1]
    assert rooms == {"runs/wsj0": "2speakers_reverb", "runs/dry": "2speakers_anechoic"}
