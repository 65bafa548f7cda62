"""Files appear whole or not at all; names stay inside their folder."""

import contextlib
import json
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sepasr_cli.errors import SepasrError
from sepasr_cli.files import atomic, fingerprint, inside, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_there_with_the_rights_of_any_new_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a/b/c.json", {"ü": [1, 2]})
    assert (tmp_path / "a/b/c.json").read_text("utf-8") == '{\n  "ü": [\n    1,\n    2\n  ]\n}\n'
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE((tmp_path / "a/b/c.json").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_the_ending_is_kept_for_those_who_tell_a_format_by_it(tmp_path: Path) -> None:
    with atomic(tmp_path / "sound.flac") as temporary:
        assert temporary.suffix == ".flac" and temporary.parent == tmp_path
        temporary.write_bytes(b"x")
    assert names(tmp_path) == ["sound.flac"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_a_failure_leaves_nothing_behind_and_the_old_file_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(error), atomic(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_a_process_killed_while_it_writes_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    script = (
        "import os, signal, sys; from pathlib import Path; from sepasr_cli.files import atomic\n"
        "with atomic(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)]).returncode == -9
    assert path.read_text() == "old"


@contextlib.contextmanager
def little_room() -> Iterator[None]:
    """No file can grow beyond 1000 bytes, as on a disk that is full: nor can the log of the tests, so be brief."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_line_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    told = f"^{path}: the disk has no room for it; free some space and run"
    with pytest.raises(SepasrError, match=told), little_room():
        write_text(path, "x" * 2000)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_a_full_disk_that_tells_of_itself_in_words_alone(tmp_path: Path) -> None:
    """safetensors raises an error of its own, with the number of the system's in its text."""
    with (
        pytest.raises(SepasrError, match="the disk has no room for it"),
        little_room(),
        atomic(tmp_path / "model.safetensors") as temporary,
    ):
        save_file({"weights": torch.zeros(2000)}, temporary)
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SepasrError, match=r"file/x\.json: cannot be written \(.*\); check the folder and its rights"):
        write_text(tmp_path / "file/x.json", "{}")


def test_inside(tmp_path: Path) -> None:
    assert inside(tmp_path, "a/../b.wav") == tmp_path / "a/../b.wav"
    for name in ("/etc/passwd", "../x", "a/../../x", str(tmp_path / "x")):
        with pytest.raises(SepasrError, match=r"leads out of .*; use a path relative to that folder and below it"):
            inside(tmp_path, name)
    os.symlink("/etc", tmp_path / "link")
    with pytest.raises(SepasrError, match="leads out of"):
        inside(tmp_path, "link/passwd")


def test_a_fingerprint_follows_values_and_the_content_of_files(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("same")
    two.write_text("same")
    assert fingerprint(one, {"a": 1}) == fingerprint(two, {"a": 1})
    assert len({fingerprint(one), fingerprint("same"), fingerprint(one, one), fingerprint(str(one))}) == 4
    assert fingerprint("ab", "c") != fingerprint("a", "bc")
    assert fingerprint(json.loads('{"b": 1, "a": 2}')) == fingerprint({"a": 2, "b": 1})


def test_a_link_that_is_allowed_may_lead_elsewhere(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "set").symlink_to(elsewhere)
    assert inside(folder, "set/a.wav", link="set") == folder / "set/a.wav"
    for name, link in (("set/a.wav", None), ("set/a.wav", "other"), ("set/../../x", "set"), ("/x", "set")):
        with pytest.raises(SepasrError, match="leads out of"):
            inside(folder, name, link)
