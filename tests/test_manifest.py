"""Manifests: a round trip, and the line that is wrong."""

from pathlib import Path
from typing import Any

import pytest

from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import (
    BankRoom,
    Mixture,
    Noise,
    Room,
    Separated,
    Source,
    Utterance,
    read_manifest,
    write_manifest,
)
from sepasr_cli.settings import Settings

ROOM = Room(size=(5, 4, 3), t60=0.3, microphones=((1, 1, 1), (1.1, 1, 1)), sources=((2, 3, 1.5),))


def mixture(name: str, **values: Any) -> Mixture:
    source = Source(speaker="ann", text="SAY «HÉ»", utterance="ann-1", end=1.5, early=f"test/{name}/s1_early.flac")
    more = {"room": ROOM, "noise": Noise(kind="white", snr_db=10), "noise_audio": f"test/{name}/noise.flac"} | values
    return Mixture(
        id=name, audio=f"test/{name}/mixture.flac", sample_rate=8000, duration=1.5, sources=(source,), **more
    )


@pytest.mark.parametrize(
    "records",
    [
        [mixture("a"), mixture("b", room=None, noise=None, noise_audio=None)],
        [Utterance(id="u", audio=Path("x.wav"), speaker="ann", sample_rate=8000, duration=2)],
        [BankRoom(id="r", responses="responses/r.npz", sample_rate=8000, room=ROOM)],
        [Separated(id="a", audio=("a_spk1.wav", "a_spk2.wav"))],
        [],
    ],
)
def test_round_trip(tmp_path: Path, records: list[Settings]) -> None:
    path = tmp_path / "data" / "test.jsonl"
    write_manifest(path, records)
    assert len(path.read_text("utf-8").splitlines()) == len(records)
    assert read_manifest(path, type(records[0]) if records else Mixture) == records


def test_files_of_a_mixture() -> None:
    assert mixture("a").files() == ["test/a/mixture.flac", "test/a/noise.flac", "test/a/s1_early.flac"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"id": "a", "audio": ["x.wav"]}\n{"id": "b"', "2: not JSON (Expecting"),
        ('{"id": "a", "audio": ["x.wav"]}\n\n', "2: not JSON (Expecting value"),
        ("\udce9", "1: not JSON ('utf-8' codec can't decode"),
        ("[1, 2]", "1: found [1, 2], expected settings as `key: value`"),
        ('{"id": "a"}', "1: 'audio' is missing; add it"),
        ('{"id": "a", "audio": ["x.wav"], "more": 1}', "1: unknown key 'more'; allowed: audio, id"),
        ('{"id": "", "audio": ["x.wav"]}', "1: 'id': found '', expected at least 1 character"),
        (
            '{"id": "a", "audio": ["x.wav"]}\n{"id": "b", "audio": ["y.wav"]}\n{"id": "a", "audio": ["z.wav"]}',
            "3: id 'a' was already used on line 1; ids must be unique",
        ),
        ('{"id": "a", "audio": ["../x.wav"]}', "1: path '../x.wav' leads out of"),
        ('{"id": "a", "audio": ["x.wav", "/etc/passwd"]}', "1: path '/etc/passwd' leads out of"),
    ],
)
def test_the_line_that_is_wrong(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "separated.jsonl"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SepasrError) as caught:
        read_manifest(path, Separated)
    assert str(caught.value).startswith(f"{path}:{line}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["audio", "noise_audio"])
def test_no_file_of_a_mixture_leads_out(tmp_path: Path, name: str) -> None:
    path = tmp_path / "test.jsonl"
    write_manifest(path, [mixture("a").model_copy(update={name: "../../x.flac"})])
    with pytest.raises(SepasrError, match=r"test\.jsonl:1: path '\.\./\.\./x\.flac' leads out of"):
        read_manifest(path, Mixture)


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SepasrError, match=r"test\.jsonl: no such manifest; run `sepasr simulate` first"):
        read_manifest(tmp_path / "test.jsonl", Mixture)
