r"""A table: tab-separated with a header, or JSON Lines (.jsonl).

Columns `id`, `audio` (relative to the table or absolute), `speaker`; where there are any `text`, `start` and `end`
(seconds within the file). Other columns are ignored; a cell holds neither tab nor line break, and
quotes are plain characters.
"""

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from sepasr_cli.corpora.corpus import Checks, Corpus, Entry, admit, lines
from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import Utterance

COLUMNS = ("id", "audio", "speaker")


class Table(Corpus):
    """A table of utterances; `path` is its file."""

    kind: Literal["table"] = "table"


def read(config: Table, checks: Checks | None = None) -> list[Utterance]:
    """The utterances in the order of the table."""
    path = config.path.absolute()
    rows = _json_lines(path) if path.suffix.lower() in (".jsonl", ".json") else _tab_separated(path)
    return admit((_entry(path, number, row) for number, row in rows), config, checks)


def _tab_separated(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    numbered = lines(path)
    table = csv.reader((line for _, line in numbered), delimiter="\t", quoting=csv.QUOTE_NONE)
    header = next(table, [])
    for column in COLUMNS:
        if column not in header:
            found = ", ".join(header) or "nothing"
            raise SepasrError(
                f"{path}: no column '{column}' (found {found}); the first line names the columns, tabs between them"
            )
    for (number, _), cells in zip(numbered[1:], table, strict=True):
        if len(cells) > len(header):
            raise SepasrError(
                f"{path}:{number}: {len(cells)} cells found, the header has {len(header)}; check the tabs"
            )
        yield number, {name: cell for name, cell in zip(header, cells, strict=False) if cell.strip()}


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in lines(path):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise SepasrError(f"{path}:{number}: not JSON ({error}); every line must be one record") from None
        if not isinstance(row, dict):
            raise SepasrError(f'{path}:{number}: found {line[:60]}, expected a record such as {{"id": ...}}')
        yield number, {key: value for key, value in row.items() if value is not None}


def _entry(path: Path, number: int, row: dict[str, Any]) -> Entry:
    origin = f"{path}:{number}"
    for column in COLUMNS:
        if not str(row.get(column, "")).strip():
            raise SepasrError(f"{origin}: '{column}' is missing; every utterance needs {', '.join(COLUMNS)}")
    text = row.get("text")
    return Entry(
        str(row["id"]).strip(),
        path.parent / str(row["audio"]).strip(),
        str(row["speaker"]).strip(),
        None if text is None else str(text),
        origin,
        _seconds(origin, "start", row.get("start", 0.0)),
        _seconds(origin, "end", row["end"]) if "end" in row else None,
    )


def _seconds(origin: str, column: str, value: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise SepasrError(f"{origin}: '{column}': found {value!r}, expected seconds")
    return seconds
