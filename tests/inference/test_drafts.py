"""Signals written piece by piece become files that are whole, or none."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from sepasr_cli.errors import SepasrError
from sepasr_cli.inference.drafts import Drafts

RATE = 8000


def signals(level: float = 0.5) -> np.ndarray:
    return (level * np.sin(np.arange(2 * 20_000).reshape(2, -1) / 9)).astype(np.float32)


def test_pieces_make_the_whole_under_any_name(tmp_path: Path) -> None:
    with Drafts(tmp_path / "new", 2, RATE) as drafts:
        for piece in np.array_split(signals(), [1, 7, 9000], axis=1):
            drafts.write(piece)
        drafts.publish(1, tmp_path / "new/a.wav")
        drafts.publish(0, tmp_path / "new/b.flac")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.wav", "b.flac"]
    for name, expected in (("a.wav", signals()[1]), ("b.flac", signals()[0])):
        found, rate = soundfile.read(tmp_path / "new" / name)
        assert rate == RATE and soundfile.info(tmp_path / "new" / name).subtype == "PCM_16"
        np.testing.assert_allclose(found, expected, atol=1 / 32768)


def test_loud_signals_are_made_quieter_together(tmp_path: Path) -> None:
    """The peak comes last: what was written before is made quieter too."""
    loud = signals(0.6)
    loud[0, -100:] *= 3
    with Drafts(tmp_path, 2, RATE) as drafts:
        for piece in np.array_split(loud, 5, axis=1):
            drafts.write(piece)
        for number in range(2):
            drafts.publish(number, tmp_path / f"{number}.wav")
    found = np.stack([soundfile.read(tmp_path / f"{number}.wav")[0] for number in range(2)])
    assert 0.99 < np.abs(found).max() <= 1
    np.testing.assert_allclose(found, 0.999 / np.abs(loud).max() * loud, atol=1 / 16384)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SepasrError])
def test_work_cut_short_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), Drafts(tmp_path, 2, RATE) as drafts:
        drafts.write(signals())
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(SepasrError, match=r"file/x: cannot be written \(.*\); check the folder and its rights"),
        Drafts(tmp_path / "file/x", 1, RATE),
    ):
        pass
