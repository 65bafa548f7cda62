"""Archives of object arrays: what NumPy writes is read, and a pickle that would do anything is refused."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from sepasr_cli.datasets.object_arrays import read_npz
from sepasr_cli.errors import SepasrError

NAMES = np.array(["a.wav", "b.wav"], dtype=object)
MIXED = np.array([1.5, np.float64(2.5), np.int64(3), "four", None], dtype=object)
NESTED = np.empty(2, object)
NESTED[:] = [np.array([1.0, 2.0]), np.array([3, 4])]


def member(content: bytes, shape: tuple[int, ...] = (2,)) -> bytes:
    """An `.npy` file whose header says objects, before whatever pickle."""
    stream = io.BytesIO()
    header = {"shape": shape, "fortran_order": False, "descr": "|O"}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + content


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name, content in members.items():
            made.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_numpy_writes(tmp_path: Path, protocol: int) -> None:
    pickles = {"names": NAMES, "mixed": MIXED, "nested": NESTED, "pairs": np.array([[1, 2], [3, 4]], object)}
    members = {name: member(pickle.dumps(one, protocol), one.shape) for name, one in pickles.items()}
    numbers = io.BytesIO()
    np.save(numbers, np.arange(3.0))
    found = read_npz(archive(tmp_path / "x.npz", numbers=numbers.getvalue(), **members))
    assert found["names"].tolist() == ["a.wav", "b.wav"]
    assert found["mixed"].tolist() == [1.5, 2.5, 3, "four", None]
    assert [one.tolist() for one in found["nested"]] == [[1.0, 2.0], [3, 4]]
    assert found["pairs"].tolist() == [[1, 2], [3, 4]]
    assert found["numbers"].tolist() == [0, 1, 2]


def test_savez(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", utterance_id=NAMES, gains=np.ones((2, 2)), fortran=np.asfortranarray(np.eye(2, 3)))
    found = read_npz(tmp_path / "x.npz")
    assert found["utterance_id"].tolist() == NAMES.tolist() and found["fortran"].tolist() == np.eye(2, 3).tolist()


class Evil:
    def __init__(self, function: object, *arguments: object) -> None:
        self.made = function, arguments

    def __reduce__(self) -> object:
        return self.made


@pytest.mark.parametrize(
    "what",
    [
        Evil(os.system, "touch pwned"),
        Evil(eval, "open('pwned', 'w')"),
        Evil(np.fromfile, "/etc/passwd"),
        Evil(np.ndarray, (10**12,)),
        Evil(getattr, "text", "format"),
        np.array([Evil(os.system, "touch pwned")], object),
        np.array([[Evil(open, "pwned", "w")]], object),
        {"a": 1},
        np.array([{"a": 1}], object),
        np.ma.array([1]),
        np.array([np.dtype([("a", "O")])], object),
    ],
    ids=lambda what: type(what).__name__,
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_anything_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: object, protocol: int) -> None:
    monkeypatch.chdir(tmp_path)
    content = member(pickle.dumps(what, protocol), (1,))
    with pytest.raises(SepasrError, match=r"x\.npz: (refused, |damaged \()"):
        read_npz(archive(tmp_path / "x.npz", x=content))
    assert not Path("pwned").exists()


def test_no_function_of_numpy_is_called(tmp_path: Path) -> None:
    """An object array over bytes of the file's choice would be pointers of its choice."""
    made = b"\x80\x02cnumpy\nndarray\n(K\x01\x85cnumpy\ndtype\nU\x02O8\x89\x88\x87RU\x08AAAAAAAAtR."
    with pytest.raises(SepasrError, match=r"x\.npz: "):
        read_npz(archive(tmp_path / "x.npz", x=member(made, (1,))))
    state = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    state += b"(K\x01K\x01\x85cnumpy\ndtype\nU\x02O8\x89\x88\x87R\x89U\x08AAAAAAAAtb."
    with pytest.raises(SepasrError, match=r"x\.npz: "):
        read_npz(archive(tmp_path / "x.npz", x=member(state, (1,))))


@pytest.mark.parametrize(
    "content, said",
    [(b"", "no archive of arrays"), (b"PK\x03\x04 cut off", "no archive of arrays")],
)
def test_no_archive(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(SepasrError, match=said):
        read_npz(tmp_path / "x.npz")
    with pytest.raises(SepasrError, match="no such file"):
        read_npz(tmp_path / "nope.npz")


def test_an_array_cut_off(tmp_path: Path) -> None:
    content = member(pickle.dumps(NAMES, 4))
    with pytest.raises(SepasrError, match=r"x\.npz: (damaged|refused)"):
        read_npz(archive(tmp_path / "x.npz", x=content[:-20]))
