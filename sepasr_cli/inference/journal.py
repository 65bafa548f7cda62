"""What a command has done so far, so that it does the rest when it is run again after an interruption."""

import json
from pathlib import Path
from typing import Any

from sepasr_cli.files import fingerprint
from sepasr_cli.inference.inputs import Input
from sepasr_cli.progress import say


class Journal:
    """A hidden file of JSON Lines, one line an input that is done; it is gone once all of them are.

    Args:
        path: the file; None keeps no journal.
        made_from: what results depend on; what was done with anything else does not count.
        fresh: whether all is to be done anew.
    """

    def __init__(self, path: Path | None, made_from: dict[str, Any], fresh: bool = False) -> None:
        self.path = path
        self.made_from = fingerprint(made_from)
        self._records: dict[str, dict[str, Any]] = {}
        if path is not None and path.is_file():
            if fresh:
                path.unlink()
            else:
                self._read(path)

    def _read(self, path: Path) -> None:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
                if record["made_from"] == self.made_from:
                    self._records[record["input"]] = record
            except (ValueError, KeyError, TypeError):
                # A line cut off, as by a full disk or a lost machine: what it told of is done again.
                continue

    def left(self, items: list[Input]) -> list[Input]:
        """Those of the inputs that are not done; says so where some are."""
        left = [item for item in items if self.record(item) is None]
        if self.path is not None and len(left) < len(items):
            say(f"{self.path.parent}: {len(items) - len(left)} of {len(items)} files are done, going on")
        return left

    def record(self, item: Input) -> dict[str, Any] | None:
        """What was noted of an input; None where it has changed since, or files made of it are not there any more."""
        record = self._records.get(str(item.path.resolve()))
        if record is None or record["stamp"] != _stamp(item) or record["name"] != item.name:
            return None
        return record if all(Path(file).is_file() for file in record["files"]) else None

    def note(self, item: Input, files: list[Path], **more: Any) -> None:
        """An input is done, these files were made of it."""
        if self.path is None:
            return
        source = str(item.path.resolve())
        record: dict[str, Any] = {
            "input": source,
            "name": item.name,
            "stamp": _stamp(item),
            "made_from": self.made_from,
        }
        record |= {"files": [str(file.resolve()) for file in files], **more}
        self._records[source] = record
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as lines:
            # Begins a line of its own, whatever was cut off before.
            lines.write("\n" + json.dumps(record, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """All is done."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _stamp(item: Input) -> list[int]:
    """Size and time of change."""
    found = item.path.stat()
    return [found.st_size, found.st_mtime_ns]
