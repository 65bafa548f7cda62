"""Files that appear whole or not at all, and paths that stay inside their folder."""

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sepasr_cli.errors import SepasrError


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed, on failure removed.

    Raises:
        SepasrError: where the folder cannot be written or the disk is full; `path` is then as it was before.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix is kept, for writers that tell a format by it.
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:80]}.", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise SepasrError(f"{path}: cannot be written ({error.strerror}); check the folder and its rights") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except Exception as error:
        if _is_full(error):
            remedy = "free some space and run the command again"
            raise SepasrError(f"{path}: the disk has no room for it; {remedy}") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _is_full(error: Exception) -> bool:
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if isinstance(error, OSError):
        return error.errno in numbers
    # safetensors, written in Rust, tells it in words alone.
    return any(f"os error {number})" in str(error) for number in numbers)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_text(path: Path, remedy: str) -> str:
    """The text in a file, which may begin with a byte order mark.

    Args:
        path: the file.
        remedy: what its user is told to do where it cannot be read.

    Raises:
        SepasrError: where it cannot, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SepasrError(f"{path}: no such file; {remedy}") from None
    except OSError as error:
        raise SepasrError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    except UnicodeDecodeError as error:
        raise SepasrError(f"{path}: not UTF-8 text (byte {error.start}); convert it") from None


def read_json(path: Path, remedy: str, wrong: str = "expected a JSON object") -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        path: the file.
        remedy: what its user is told to do where it is none.
        wrong: what is said where it holds something else, `{}` in it being the name of that type.

    Raises:
        SepasrError: where it is none.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SepasrError(f"{path}: not JSON ({error}); {remedy}") from None
    if not isinstance(value, dict):
        raise SepasrError(f"{path}: {wrong.format(type(value).__name__)}; {remedy}")
    return value


def inside(folder: Path, name: str, link: str | None = None) -> Path:
    """The path `name` below `folder`; below a `link` in it, which may lead elsewhere, where that leads.

    Raises:
        SepasrError: where `name` is absolute or leads out of `folder`.
    """
    parts = Path(name).parts
    if link is not None and parts[:1] == (link,) and ".." not in parts:
        return folder / name
    resolved = (folder / name).resolve()
    if Path(name).is_absolute() or not resolved.is_relative_to(folder.resolve()):
        raise SepasrError(f"path '{name}' leads out of {folder}; use a path relative to that folder and below it")
    return folder / name


def fingerprint(*parts: Any) -> str:
    """Sixteen hexadecimal digits that change when any part does; a Path stands for its content, bytes for themselves.

    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    True
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            with part.open("rb") as handle:
                while block := handle.read(1 << 20):
                    digest.update(block)
        elif isinstance(part, bytes):
            digest.update(part)
        else:
            digest.update(json.dumps(part, sort_keys=True, default=str).encode())
        digest.update(b"\x1f")
    return digest.hexdigest()[:16]
