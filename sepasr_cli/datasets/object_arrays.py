"""NumPy archives (`.npz`) with arrays of objects, which NumPy itself reads only by running whatever a pickle says.

WHAM!'s metadata are such. Here a pickle may name NumPy's own array types and nothing else, and what these names stand
for are plain holders of this module: no function of NumPy's, or of anybody's, is ever called by a file.
"""

import io
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from sepasr_cli.errors import SepasrError

#: Plain numbers, text and objects; no structured types.
_DTYPE = re.compile(r"[<>|=]?[?biufUSO][0-9]*")


class _Dtype:
    """What a pickle says of a type: its code and byte order."""

    def __init__(self, code: object, align: object = False, copy: object = True) -> None:
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise pickle.UnpicklingError(f"type {code!r} is no plain type")
        self.code, self.order = code, ""

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order not in ("<", ">", "|", "=") or state[2:5] != (None, None, None):
            raise pickle.UnpicklingError("a type with fields")
        self.order = order

    def numpy(self) -> np.dtype:
        return np.dtype(self.code if self.code[0] in "<>|=" else f"{self.order}{self.code}")


class _Array:
    """What a pickle says of an array; its values once all is read."""

    values: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        kind = dtype.numpy()
        if kind.hasobject:
            flat = np.empty(len(data), object)
            flat[:] = [_plain(one) for one in data]
        else:
            flat = np.frombuffer(data, kind)
        self.values = flat.reshape(shape, order="F" if fortran else "C")


def _reconstruct(kind: object, shape: object, code: object) -> _Array:
    if kind is not _Array:
        raise pickle.UnpicklingError("an array that is none of NumPy's")
    return _Array()


def _scalar(dtype: _Dtype, data: bytes) -> Any:
    return np.frombuffer(data, dtype.numpy())[0].item()


def _latin1(text: str, encoding: str) -> bytes:
    # How version 2 of the protocol, which knows text alone, writes bytes.
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _latin1,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no array type of NumPy") from None


def _plain(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.values
    if not isinstance(value, str | bytes | int | float | bool | None):
        raise pickle.UnpicklingError(f"a value of type {type(value).__name__}")
    return value


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an archive by name.

    Raises:
        SepasrError: where it is missing or damaged, or holds anything but arrays of numbers and text.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy"): _read_npy(archive.read(name)) for name in archive.namelist()}
    except FileNotFoundError:
        raise SepasrError(f"{path}: no such file; check the path") from None
    except pickle.UnpicklingError as error:
        raise SepasrError(f"{path}: refused, {error}; expected arrays of numbers and text alone") from None
    # A pickle that was tampered with fails in many ways.
    except (OSError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, MemoryError) as error:
        raise SepasrError(f"{path}: damaged ({type(error).__name__}: {error}); copy it again") from None
    except zipfile.BadZipFile as error:
        raise SepasrError(f"{path}: no archive of arrays ({error}); copy it again") from None


def _read_npy(content: bytes) -> np.ndarray:
    stream = io.BytesIO(content)
    version = npy.read_magic(stream)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read_header(stream)
    if not dtype.hasobject:
        stream.seek(0)
        return npy.read_array(stream, allow_pickle=False)
    array = _Unpickler(stream).load()
    if not isinstance(array, _Array) or array.values is None or array.values.shape != shape:
        raise pickle.UnpicklingError("a member that is no array")
    return array.values
