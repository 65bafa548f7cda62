"""Files, folders, patterns, manifests and transcripts are found, and paired by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sepasr_cli import transcripts
from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import Mixture, Separated, Source, write_manifest
from sepasr_cli.scoring.material import find_material
from sepasr_cli.transcripts import Segment


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes audio files of these names in the working folder."""
    monkeypatch.chdir(tmp_path)

    def make(*names: str) -> None:
        for name in names:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(name, np.ones(800) / 2, 8000)

    return make


def said(session: str, words: str = "hello", speaker: str = "x") -> Segment:
    return Segment(session_id=session, speaker=speaker, start_time=0, end_time=1, words=words)


def files(found: tuple) -> dict[str, tuple[list[str], list[str], str | None]]:
    return {
        one.id: (
            [str(path) for path in one.references],
            [str(path) for path in one.estimates],
            str(one.mixture) if one.mixture else None,
        )
        for one in found
    }


@pytest.mark.parametrize(
    ("references", "reference"),
    [
        (["ref/s1/a.wav", "ref/s2/a.wav"], ["ref"]),
        (["ref/a_s1.wav", "ref/a_s2.wav"], ["ref"]),
        (["ref/a/s1_early.flac", "ref/a/s2_early.flac"], ["ref/*/s?_early.flac"]),
        (["one/a.wav", "two/a.wav"], ["one", "two"]),
    ],
)
def test_layouts_are_one(here: Callable[..., None], references: list[str], reference: list[str]) -> None:
    here(*references, "est/a_spk1.wav", "est/a_spk2.wav", "mix/a.wav")
    found = find_material(reference, ["est"], ["mix"])
    assert files(found.signals) == {"a": (references, ["est/a_spk1.wav", "est/a_spk2.wav"], "mix/a.wav")}
    assert found.remarks == ()
    assert found.missing == {"words": "no transcripts in --reference and --estimate"}


@pytest.mark.parametrize("name", ["mix/a_mix.wav", "a/mixture.wav", "mix/a.wav"])
def test_a_mixture_is_known_by_its_name(here: Callable[..., None], name: str) -> None:
    here("ref/a.wav", "ref/b.wav", "est/a.wav", "est/b.wav", name)
    pattern = name.replace("a", "*", 1) if name.startswith("a") else "mix/*"
    found = find_material(["ref"], ["est"], [pattern])
    assert [(one.id, str(one.mixture)) for one in found.signals] == [("a", name), ("b", "None")]
    assert found.remarks == ("1 of 2 recordings have no mixture: b",)


def test_files_named_one_by_one_are_one_recording(here: Callable[..., None]) -> None:
    here("x.wav", "y.wav", "e1.wav", "e2.wav", "m.wav")
    found = find_material(["x.wav", "y.wav"], ["e1.wav", "e2.wav"], ["m.wav"])
    assert files(found.signals) == {"recording": (["x.wav", "y.wav"], ["e1.wav", "e2.wav"], "m.wav")}
    assert found.signals[0].speakers == ("x", "y")


def test_what_is_on_one_side_alone_is_named(here: Callable[..., None]) -> None:
    here(*(f"ref/{name}.wav" for name in "abcdefg"), "est/a.wav", "est/z.wav")
    found = find_material(["ref"], ["est"])
    assert [one.id for one in found.signals] == ["a"]
    assert found.remarks == (
        "6 of 7 recordings are in the reference alone: b, c, d, ...",
        "1 of 2 recordings are in the estimate alone: z",
    )


def test_manifests_bring_signals_texts_and_mixtures(here: Callable[..., None]) -> None:
    here("data/a.wav", "data/a1.wav", "data/a2.wav", "out/x.wav", "out/y.wav")
    sources = (
        Source(speaker="ann", text="hi", end=0.1, direct="a1.wav"),
        Source(speaker="bob", text="ho", end=0.1, direct="a2.wav"),
    )
    write_manifest(
        Path("data/test.jsonl"), [Mixture(id="a", audio="a.wav", sample_rate=8000, duration=0.1, sources=sources)]
    )
    write_manifest(Path("out/separated.jsonl"), [Separated(id="a", audio=("x.wav", "y.wav"))])
    transcripts.write(Path("heard.json"), [said("a")])
    found = find_material(["data/test.jsonl"], ["out/separated.jsonl", "heard.json"])
    assert files(found.signals) == {"a": (["data/a1.wav", "data/a2.wav"], ["out/x.wav", "out/y.wav"], "data/a.wav")}
    assert found.signals[0].speakers == ("ann", "bob")
    assert [segment.words for segment in found.words[0].reference] == ["hi", "ho"]
    assert found.missing == {}


def test_transcripts_of_any_format_and_folders_of_them(here: Callable[..., None]) -> None:
    transcripts.write(Path("said.stm"), [said("a"), said("b")])
    transcripts.write(Path("heard/a.srt"), [said("a")])
    transcripts.write(Path("heard/b.txt"), [said("b")])
    found = find_material(["said.stm"], ["heard"])
    assert [(one.id, one.hypothesis[0].words) for one in found.words] == [("a", "hello"), ("b", "hello")]


def test_a_folder_of_a_run_is_its_transcript(here: Callable[..., None]) -> None:
    transcripts.write(Path("run/transcripts/test/transcripts.json"), [said("a")])
    Path("run/transcripts/test/stage.json").write_text("{}")
    assert find_material(["run/transcripts/test"], ["run/transcripts/test"]).words[0].id == "a"


def test_the_only_recordings_need_no_name(here: Callable[..., None]) -> None:
    transcripts.write(Path("meeting.stm"), [said("meeting")])
    transcripts.write(Path("out.srt"), [said("out")])
    found = find_material(["meeting.stm"], ["out.srt"])
    assert found.words[0].id == "meeting"
    assert found.remarks == ("'out' is compared with the only reference, 'meeting'",)


@pytest.mark.parametrize(
    ("reference", "estimate", "line"),
    [
        ("nope.wav", "est", "nope.wav: no such file or folder; check the path"),
        ("ref/*.flac", "est", r"ref/\*.flac: no file fits the pattern; check it, and quote it"),
        ("empty", "est", "empty: holds neither audio nor transcripts; check the path"),
        ("ref", "other", r"no recording is in both: the reference has 2 \(a, b\), the estimate 2 \(c, d\); name what"),
        ("ref", "said.stm", "nothing to score: no audio in --estimate; no transcripts in --reference"),
        ("twice", "est", "twice/s1/a.wav and twice/a_s1.wav are both 's1' of recording 'a'; name them s1, s2"),
        (
            "said.stm",
            "swapped.json",
            r"2 of 2 recordings of the reference stand as speakers .* are its columns swapped",
        ),
        ("said.rttm", "said.stm", "nothing to score: no audio in .*; the reference transcript holds no words"),
    ],
)
def test_what_cannot_be_paired_is_one_line(here: Callable[..., None], reference: str, estimate: str, line: str) -> None:
    here("ref/a.wav", "ref/b.wav", "est/a.wav", "est/b.wav", "other/c.wav", "other/d.wav")
    here("twice/a_s1.wav", "twice/s1/a.wav")
    Path("empty").mkdir()
    for name in ("said.stm", "said.rttm"):
        transcripts.write(Path(name), [said("a"), said("b")])
    transcripts.write(Path("swapped.json"), [said("x", speaker="a"), said("y", speaker="b")])
    with pytest.raises(SepasrError, match=line):
        find_material([reference], [estimate])


def test_ninety_signals_of_one_recording_are_refused(here: Callable[..., None]) -> None:
    here(*(f"ref/a_s{number}.wav" for number in range(90)), "est/a.wav")
    with pytest.raises(SepasrError, match=r"recording 'a' has 90 references \(.*\), expected at most 20"):
        find_material(["ref"], ["est"])
