"""Recipes: what is taken from where, and the one line that says what is wrong."""

from pathlib import Path
from typing import Any

import pytest

from sepasr_cli.errors import ArgumentError, SepasrError
from sepasr_cli.recipe import Recipe, load_recipe


@pytest.fixture
def load(tmp_path: Path):
    def load(text: str, *overrides: str) -> Recipe:
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return load_recipe(path, overrides)

    return load


def test_an_empty_recipe_is_the_defaults(load, tmp_path: Path) -> None:
    assert load("").model_copy(update={"root": None}) == Recipe()
    assert load("").root == tmp_path.resolve()


def test_rate_microphones_and_speakers_are_stated_once(load) -> None:
    recipe = load("sample_rate: 8000\nsimulation: {speakers: 3, array: {microphones: 4}, reference_microphone: 2}")
    separation = recipe.separation
    assert (separation.sample_rate, recipe.recognition.sample_rate) == (8000, 8000)
    assert (separation.microphones, separation.speakers, separation.reference_microphone) == (4, 3, 2)


def test_a_separator_of_another_kind_is_filled_in_too(load) -> None:
    recipe = load("separation: {kind: mask_mvdr}\nsimulation: {array: {kind: linear, microphones: 3}}")
    assert (recipe.separation.kind, recipe.separation.microphones) == ("mask_mvdr", 3)
    assert load("separation: {microphones: 1}").separation.microphones == 1


RICH = """
seed: 7
sample_rate: 8000
corpora:
  train: [{kind: folder, path: speech/ann, speakers: lists/train.txt}, {kind: table, path: /elsewhere/t.tsv}]
  test: [{kind: folder, path: speech, speakers: [ann, bob]}]
simulation: {overlap: [0.2, 0.5], noise: {kind: folder, path: noise}, room: {t60: null}, mixtures: {train: 5}}
separation: {kind: mask_mvdr, layers: 1}
recognition: {features: {kind: filterbank, mels: 20}, specaugment: null}
pretrain_sep: {loss: mask, precision: no, learning_rate: 1e-3}
"""


def test_the_resolved_recipe_reads_back_equal_wherever_it_lies(load, tmp_path: Path) -> None:
    recipe = load(RICH)
    (tmp_path / "run").mkdir()
    again = tmp_path / "run" / "recipe.yaml"
    again.write_text(recipe.to_yaml())
    assert load_recipe(again) == recipe
    assert load_recipe(again).fingerprint() == recipe.fingerprint() != load("").fingerprint()
    assert "train: 5" in recipe.to_yaml() and "dev: 100" in recipe.to_yaml()


def test_paths_are_meant_from_root(load, tmp_path: Path) -> None:
    recipe = load(RICH)
    first, second = recipe.corpora.train
    assert first.path == tmp_path / "speech/ann" and first.speakers == tmp_path / "lists/train.txt"
    assert second.path == Path("/elsewhere/t.tsv")
    assert recipe.corpora.test[0].speakers == ("ann", "bob")
    assert recipe.simulation.noise is not None
    assert recipe.simulation.noise.model_dump()["path"] == tmp_path / "noise"
    assert load("root: data\n" + RICH).corpora.test[0].path == tmp_path / "data/speech"


def test_root_of_an_override_is_meant_from_the_working_folder(
    load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert load("root: data\n" + RICH, "root=more").corpora.test[0].path == tmp_path / "here/more/speech"


def test_data_that_were_moved_are_found_by_another_root(load, tmp_path: Path) -> None:
    """A run's own recipe keeps paths below root relative, so one override serves them all."""
    (tmp_path / "resolved.yaml").write_text(load(RICH).to_yaml())
    moved = load_recipe(tmp_path / "resolved.yaml", ["root=/moved"])
    assert [one.path for one in moved.corpora.train] == [Path("/moved/speech/ann"), Path("/elsewhere/t.tsv")]
    assert moved.fingerprint() == load(RICH).fingerprint()


def test_a_hugging_face_name_is_no_path_unless_a_folder_is_there(load, tmp_path: Path) -> None:
    text = "recognition: {features: {kind: ssl, name: models/tiny}}"
    assert load(text).recognition.features.model_dump()["name"] == "models/tiny"
    (tmp_path / "models/tiny").mkdir(parents=True)
    assert load(text).recognition.features.model_dump()["name"] == str(tmp_path / "models/tiny")


def test_base(load, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/base.yaml").write_text(
        "root: data\nseed: 5\ncorpora: {test: [{kind: folder, path: speech}]}\n"
        "separation: {kind: tfgridnet, blocks: 3, lstm: 7}\nsimulation: {array: {microphones: 3}}"
    )
    (tmp_path / "middle.yaml").write_text("base: below/base.yaml\nseed: 6\nseparation: {blocks: 4}")
    recipe = load("base: middle.yaml\nseparation: {lstm: 8}", "separation.embedding=12")
    separation: Any = recipe.separation
    assert (recipe.seed, separation.blocks, separation.lstm, separation.embedding) == (6, 4, 8, 12)
    assert separation.microphones == 3
    # Paths are meant from where they are written.
    assert recipe.corpora.test[0].path == tmp_path / "below/data/speech"
    assert load("base: middle.yaml\nroot: other").corpora.test[0].path == tmp_path / "other/speech"
    # Settings of another kind take nothing over.
    assert load("base: middle.yaml\nseparation: {kind: mask_mvdr}").separation.kind == "mask_mvdr"


def test_overrides_are_yaml(load) -> None:
    recipe = load(
        "pretrain_sep: {batch_size: 3}",
        "pretrain_sep.max_steps=5",
        "pretrain_sep.precision=no",
        "pretrain_asr.learning_rate=1e-4",
        "simulation.room={size: [5, 4, 3], t60: null}",
        "simulation.overlap=[0.1, 0.2]",
        "pretrain_sep.plateau_patience=null",
    )
    assert (recipe.pretrain_sep.batch_size, recipe.pretrain_sep.max_steps) == (3, 5)
    assert (recipe.pretrain_sep.precision, recipe.pretrain_sep.plateau_patience) == ("no", None)
    assert recipe.pretrain_asr.learning_rate == 1e-4
    assert (recipe.simulation.room.t60, recipe.simulation.overlap) == (None, (0.1, 0.2))


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("separation.blocks", "--set 'separation.blocks': expected KEY=VALUE, such as separation.blocks=4"),
        ("=4", "--set '=4': expected KEY=VALUE"),
        ("seed.more=4", "--set 'seed.more=4': 'seed' holds a value, not settings; check the key"),
        ("corpora.train.path=x", "--set 'corpora.train.path=x': 'train' holds a value, not settings"),
        ("separation.blocks=[4", "--set 'separation.blocks=[4': the value is not YAML; quote it"),
    ],
)
def test_overrides_that_are_none(load, override: str, line: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        load("seed: 1\ncorpora: {train: [{kind: folder, path: x}]}", override)
    assert str(caught.value).startswith(line)


def test_what_an_override_breaks_names_it(load, tmp_path: Path) -> None:
    with pytest.raises(SepasrError) as caught:
        load("", "separation.blocks=0", "seed=3")
    assert str(caught.value) == (
        f"{tmp_path}/recipe.yaml --set separation.blocks=0 --set seed=3: "
        "'separation.blocks': found 0, expected a number greater than 0"
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1", ", line 1: not YAML (expected ',' or ']', but got '<stream end>'); mend it"),
        ("seed: 1\nsimulation: {speakers: 2}\nseed: 2", ", line 3: not YAML (key 'seed' stands twice); mend it"),
        ("seed: !!python/object/apply:os.system [ls]", ", line 1: not YAML (could not determine a constructor"),
        ("- 1", ": found a list, expected settings as `key: value`"),
        ("root: [a]", ": 'root': found ['a'], expected a path"),
        ("base: nope.yaml", ": 'base' names nope.yaml, which is not there; expected a path from this recipe"),
        ("base: recipe.yaml", ": 'base' names recipe.yaml, which is made from this recipe itself; remove one 'base'"),
        ("sed: 1", ": unknown key 'sed', is seed meant?; allowed: corpora, dataset, "),
        ("separation: {blokcs: 1}", ": unknown key 'separation.blokcs', is blocks meant?; allowed: activation, "),
        (
            "separation: {kind: mask_mvdr, blocks: 1}",
            ": unknown key 'separation.blocks'; allowed: beamformer, ",
        ),
        ("simulation: {array: {kind: circular, spacing: 1}}", ": unknown key 'simulation.array.spacing'; allowed: h"),
        ("corpora: {train: [{kind: folder, pth: x, path: y}]}", ": unknown key 'corpora.train.0.pth', is path meant?"),
        ("corpora: {train: [{kind: ldc, path: y}]}", ": 'corpora.train.0.kind': found 'ldc', expected one of 'an4', "),
        ("corpora: {valid: []}", ": unknown key 'corpora.valid'; allowed: dev, test, train"),
        ("corpora: {train: {kind: folder, path: x}}", ": 'corpora.train': found {'kind': 'folder', 'path': '"),
        ("recognition: {encoder: {heads: x}}", ": 'recognition.encoder.heads': found 'x', expected a whole number"),
        ("recognition: {features: {mels: 5}}", ": 'recognition.features.kind' is missing; expected one of 'filterb"),
        ("simulation: {mixtures: {valid: 5}}", ": 'simulation.mixtures.valid': found 'valid', expected 'train', 'dev'"),
        ("pretrain_sep: {loss: l2}", ": 'pretrain_sep.loss': found 'l2', expected 'l1', 'si_sdr' or 'mask'"),
        ("pretrain_sep: {loss: mask}", ": pretrain_sep.loss is mask, which a separation of kind tfgridnet has none"),
        (
            "separation: {kind: mask_mvdr, noise_mask: false}\npretrain_sep: {loss: mask}",
            ": pretrain_sep.loss is mask, which needs separation.noise_mask: true",
        ),
        ("seed: -1", ": 'seed': found -1, expected a number greater than or equal to 0"),
        ("sample_rate: 4000", ": 'sample_rate': found 4000, expected a number greater than or equal to 8000"),
        ("simulation: 5", ": 'simulation': found 5, expected settings as `key: value`"),
        ("simulation: {speakers: two}", ": 'simulation.speakers': found 'two', expected a whole number (1 more)"),
        ("separation: no", ": 'separation': found 'no', expected settings as `key: value`"),
        ("separation: {sample_rate: 8000}", ": separation.sample_rate is 8000, sample_rate is 16000; state it once"),
        ("recognition: {sample_rate: 8000}", ": recognition.sample_rate is 8000, sample_rate is 16000; state it once"),
        ("separation: {speakers: 3}", ": separation.speakers is 3, simulation.speakers is 2; they must be equal"),
        (
            "separation: {microphones: 4}",
            ": separation.microphones is 4, but simulation.array.microphones is 2; a separator takes at most",
        ),
        (
            "separation: {reference_microphone: 1}",
            ": separation.reference_microphone is 1, simulation.reference_microphone is 0; they must be equal",
        ),
        (
            "simulation: {references: [direct]}",
            ": pretrain_sep.reference is early, simulation.references has direct; add it there",
        ),
        (
            "simulation: {references: [early]}\npretrain_asr: {speech: [corpus, image]}",
            ": pretrain_asr.speech is image, simulation.references has early; add it there",
        ),
        ("scoring: {text: loose}", ": 'scoring.text': found 'loose', expected "),
    ],
)
def test_what_is_wrong_is_one_line(load, tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(SepasrError) as caught:
        load(text)
    assert str(caught.value).startswith(f"{tmp_path}/recipe.yaml{line}")
    assert "\n" not in str(caught.value)


def test_a_base_that_is_broken_is_named_itself(load, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("seed: 1\n  seed: [")
    with pytest.raises(SepasrError, match=r"base\.yaml, line 2: not YAML"):
        load("base: base.yaml")
    (tmp_path / "one.yaml").write_text("base: two.yaml")
    (tmp_path / "two.yaml").write_text("base: one.yaml")
    with pytest.raises(SepasrError, match=r"two\.yaml: 'base' names one\.yaml, which is made from this recipe itself"):
        load("base: one.yaml")


def test_a_recipe_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(SepasrError, match=r"nope\.yaml: no such recipe; see the folder recipes/ for examples"):
        load_recipe(tmp_path / "nope.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SepasrError, match=r"binary\.yaml: not YAML \('utf-8' codec can't decode"):
        load_recipe(tmp_path / "binary.yaml")


@pytest.mark.parametrize("word", ["no", "off", "on", "yes", "n", "y"])
def test_words_that_old_yaml_takes_for_true_or_false_are_words(load, word: str) -> None:
    with pytest.raises(SepasrError, match=f"found '{word}x', expected 'no', 'bf16' or 'fp16'"):
        load(f"pretrain_sep: {{precision: {word}x}}")
    assert load("corpora: {test: [{kind: folder, path: " + word + "}]}").corpora.test[0].path.name == word
    assert load("pretrain_sep: {dynamic_mixing: true}").pretrain_sep.dynamic_mixing is True
