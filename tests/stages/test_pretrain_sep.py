"""A separator that begins with the weights of another."""

from collections.abc import Callable

import pytest
import torch

import sepasr_cli
from sepasr_cli.errors import SepasrError
from sepasr_cli.pretrained import load_separator
from sepasr_cli.rundir import RunDir
from sepasr_cli.separation import TFGridNet, TwoStage


@pytest.fixture
def run(make_run: Callable[..., RunDir]) -> RunDir:
    """A run with mixtures to learn from, and a separator in it as `other`."""
    made = make_run(joint=False)
    for split in ("train", "dev"):
        made.manifest(split).write_text(made.manifest("test").read_text())
    load_separator(str(made.path / "separator")).save_pretrained(made.path / "other")
    return made


def train(run: RunDir, *overrides: str, kind: str = "tfgridnet", **changes: int | bool) -> None:
    steps = ("max_steps=1", "validate_every=1", "batch_size=1", "reference=image", *overrides)
    sizes = load_separator(str(run.path / "other")).config.model_dump(mode="json") | {"kind": kind, **changes}
    settings = [f"separation.{name}={value}" for name, value in sizes.items() if value is not None]
    settings += [f"pretrain_sep.{step}" for step in steps]
    sepasr_cli.pretrain_sep(run.path, overrides=settings, device="cpu", restart=True)


def test_it_begins_with_the_weights_of_another(run: RunDir) -> None:
    before = load_separator(str(run.path / "other")).state_dict()["encode.weight"]
    for initial, close in ((str(run.path / "other"), True), ("null", False)):
        train(run, f"initial={initial}", "learning_rate=1e-6", "warmup_steps=0")
        after = load_separator(str(run.path / "separator")).state_dict()["encode.weight"]
        assert torch.allclose(after, before, atol=1e-5) == close
        assert not torch.equal(after, before)


def test_cues_may_be_added_to_what_it_begins_with(run: RunDir) -> None:
    before = load_separator(str(run.path / "other")).state_dict()["encode.weight"]
    train(run, f"initial={run.path / 'other'}", "learning_rate=1e-6", "warmup_steps=0", cues=True)
    after = load_separator(str(run.path / "separator")).state_dict()["encode.weight"]
    assert torch.allclose(after[:, : before.shape[1]], before, atol=1e-5)
    assert 0 < after[:, before.shape[1] :].abs().max() < 1e-5
    # Not the other way round.
    load_separator(str(run.path / "separator")).save_pretrained(run.path / "cues")
    with pytest.raises(SepasrError, match="has other sizes"):
        train(run, f"initial={run.path / 'cues'}")


def test_one_that_steers_filters_may_go_on_without_them(run: RunDir) -> None:
    other = load_separator(str(run.path / "other"))
    assert isinstance(other, TFGridNet)
    steering = TFGridNet(other.config.model_copy(update={"beamform": True}))
    steering.load_state_dict(other.state_dict())
    steering.save_pretrained(run.path / "steering")
    train(run, f"initial={run.path / 'steering'}", "learning_rate=1e-6", "warmup_steps=0")
    after = load_separator(str(run.path / "separator"))
    assert after.config == other.config
    assert torch.allclose(after.state_dict()["encode.weight"], other.state_dict()["encode.weight"], atol=1e-5)


def test_its_sizes_must_be_those_of_the_recipe(run: RunDir) -> None:
    with pytest.raises(
        SepasrError, match=r"pretrain_sep.initial: .*other has other sizes than the recipe's separation"
    ):
        sepasr_cli.pretrain_sep(run.path, overrides=[f"pretrain_sep.initial={run.path / 'other'}"], restart=True)


def test_it_may_grow_from_a_smaller_one(run: RunDir) -> None:
    small = load_separator(str(run.path / "other"))
    assert isinstance(small, TFGridNet)
    larger = {"blocks": small.config.blocks + 1, "lstm": small.config.lstm + 2}
    begin = [f"initial={run.path / 'other'}", "learning_rate=1e-6", "warmup_steps=0"]
    train(run, *begin, **larger)
    grown = load_separator(str(run.path / "separator"))
    mixture = torch.randn(1, small.config.microphones, 3000)
    with torch.no_grad():
        torch.testing.assert_close(grown(mixture), small(mixture), rtol=1e-3, atol=1e-3)
    # The same again: what is new is drawn from the seed.
    weights = grown.state_dict()
    train(run, *begin, **larger)
    again = load_separator(str(run.path / "separator")).state_dict()
    assert all(torch.equal(again[name], value) for name, value in weights.items())
    # Not the other way round.
    grown.save_pretrained(run.path / "grown")
    with pytest.raises(SepasrError, match="cannot grow"):
        train(run, f"initial={run.path / 'grown'}")


def test_two_stages_begin_with_the_first(run: RunDir) -> None:
    first = load_separator(str(run.path / "other")).state_dict()
    train(run, f"initial={run.path / 'other'}", kind="two_stage")
    both = load_separator(str(run.path / "separator"))
    assert isinstance(both, TwoStage)
    assert all(torch.equal(both.first.state_dict()[name], value) for name, value in first.items())
    assert any(weight.any() for weight in both.second.decode.parameters())
    # From both, and not from nothing.
    both.save_pretrained(run.path / "both")
    train(run, f"initial={run.path / 'both'}", kind="two_stage")
    with pytest.raises(SepasrError, match=r"pretrain_sep.initial: expected the separator that is the first stage"):
        train(run, "initial=null", kind="two_stage")
