"""Which recordings are shown, and what of them."""

from pathlib import Path

import pytest

from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import Mixture, Source
from sepasr_cli.reporting.collect import collect
from sepasr_cli.reporting.details import Item, choose, detail, items
from sepasr_cli.rundir import RunDir


def item(number: int) -> Item:
    mixture = Mixture(id=str(number), audio="a", sample_rate=8000, duration=1, sources=(Source(speaker="a", end=1),))
    return Item(str(number), mixture, Path(), {0: {"wer": number / 100, "si_sdr_improvement": 1.0}})


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7, 20, 30, 40])
@pytest.mark.parametrize("total", [0, 1, 2, 5, 30])
def test_the_worst_the_best_and_some_between(count: int, total: int) -> None:
    chosen = choose([item(number) for number in range(total)], count)
    names = [int(one.name) for one, _ in chosen]
    assert len(names) == min(count, total)
    assert names == sorted(set(names), reverse=True)
    if names:
        assert chosen[0][1] == "worst" and names[0] == total - 1
    if len(names) > 1:
        assert chosen[-1][1] == "best" and names[-1] == 0
    tags = [tag for _, tag in chosen]
    assert tags == sorted(tags, key=["worst", "", "best"].index)


def test_wanted_ones_come_before_others_between() -> None:
    every = [item(number) for number in range(30)]
    names = [one.name for one, _ in choose(every, 9, {"17", "11", "29", "gone"})]
    assert len(names) == 9 and {"17", "11", "29"} <= set(names) and names[:3] == ["29", "28", "27"]


def test_without_words_the_signals_rank() -> None:
    pair = [
        Item(str(gain), item(0).mixture, Path(), {0: {"wer": None, "si_sdr_improvement": gain}}) for gain in (5.0, -1.0)
    ]
    assert [(one.name, tag) for one, tag in choose(pair, 2)] == [("-1.0", "worst"), ("5.0", "best")]


def test_cards_of_every_speaker(run: RunDir) -> None:
    columns = collect([run.path], "test")
    assert [column.name for column in columns] == ["first joint", "first cascade"]
    one = detail(items(columns)[0], "worst", columns, seconds=0.5)
    assert [card.name for card in one.given] == ["mixture", "ann", "bob"]
    assert all(card.clip is not None and card.clip.sound and card.clip.cut for card in one.given)
    joint, cascade = one.made[0], one.made[1]
    assert [card.name for card in joint] == ["ann", "bob"]
    assert joint[0].note.startswith("output 2, SI-SDR ") and joint[1].note.startswith("output 1, SI-SDR ")
    assert joint[0].words is not None and joint[0].words.note == "heard as spk2, 0 errors in 2 words"
    assert cascade[0].words is not None and cascade[0].words.note == "heard as spk1, 2 errors in 2 words"
    assert ("T60", "0.30 s") in one.facts and ("1. ann", "0.0 to 0.7 s") in one.facts


def test_an_output_too_many_is_shown(run: RunDir) -> None:
    (column,) = collect([run.path], "test", ["cascade"])
    heard = {"test_0": {"spk1": "no", "spk2": "GO", "spk3": "AWAY"}}
    column = column.__class__(**{**vars(column), "heard": heard})
    made = detail(items([column])[0], "", [column], 1.0).made[0]
    assert [(card.name, card.note) for card in made[2:]] == [("spk3", "of no speaker")]
    assert made[2].words is not None and [word.kind for word in made[2].words.aligned] == ["insertion"]


def test_one_id_is_one_recording_only_where_it_is_the_same(run: RunDir, other: RunDir) -> None:
    same = items(collect([run.path], "test"))
    assert [one.name for one in same] == [f"test_{number}" for number in range(4)]
    assert all(set(one.records) == {0, 1} for one in same)
    both = items(collect([run.path, other.path], "test"))
    assert [one.name for one in both][3:5] == ["test_3", "test_0 (second)"] and both[0].name == "test_0 (first joint)"
    assert [set(one.records) for one in both] == [{0, 1}] * 4 + [{2}] * 3


def test_a_score_of_a_recording_that_is_not_in_the_manifest(run: RunDir) -> None:
    (column,) = collect([run.path], "test", ["cascade"])
    column = column.__class__(**{**vars(column), "mixtures": {}})
    with pytest.raises(SepasrError, match=r"recording 'test_0' is not in .*test.jsonl; run `sepasr score` again"):
        items([column])
