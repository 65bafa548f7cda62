"""`sepasr compare`: whether one system is better than another, on the recordings that both were scored on."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from sepasr_cli.errors import SepasrError
from sepasr_cli.files import write_json
from sepasr_cli.inference.inputs import refuse_to_replace, split_folder
from sepasr_cli.progress import warn
from sepasr_cli.rundir import RunDir
from sepasr_cli.scoring import tables
from sepasr_cli.scoring.bootstrap import Difference, differences
from sepasr_cli.scoring.report import RECORDINGS, SUMMARY, parts_of
from sepasr_cli.scoring.signals import SIGNAL_METRICS, Mean
from sepasr_cli.scoring.tables import TableFormat
from sepasr_cli.scoring.words import WORD_METRICS

#: Metrics of each kind of reference.
KINDS: dict[str, tuple[str, ...]] = {"signals": SIGNAL_METRICS, "words": WORD_METRICS}


@dataclass(frozen=True)
class Comparison:
    """Two systems by name, how many recordings both have, and each metric's difference."""

    first: str
    second: str
    recordings: int
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class _Scores:
    folder: Path
    summary: Mapping[str, Any]
    records: Mapping[str, Mapping[str, Any]]


def compare(
    first: Path | str,
    second: Path | str,
    split: str = "test",
    system: str | None = None,
    out: Path | str | None = None,
    table: TableFormat | None = None,
    overwrite: bool = False,
) -> Comparison:
    """Compare the scores of two systems by a paired bootstrap over recordings; prints a table.

    Args:
        first: a run directory, or a folder of scores such as RUN/scores/test-cascade.
        second: the same; differences are what it has more.
        split: of run directories.
        system: of run directories, where --system named it when they were scored.
        out: a JSON file for the result.
        table: the form of the printed table, for files.
        overwrite: replace `out`.

    Raises:
        SepasrError: where there are no scores, or they are of other references or rules.
    """
    target = Path(out) if out is not None else None
    if target is not None and not overwrite:
        refuse_to_replace([target])
    scores = [_load(Path(path), split, system) for path in (first, second)]
    names = _names(Path(first), Path(second))
    common = [name for name in scores[0].records if name in scores[1].records]
    if not common:
        raise SepasrError(
            f"{scores[0].folder} ({len(scores[0].records)} recordings) and {scores[1].folder} "
            f"({len(scores[1].records)}) have no recording in common; compare scores of the same split"
        )
    for one, name in zip(scores, names, strict=True):
        if alone := len(one.records) - len(common):
            warn(f"{alone} of {len(one.records)} recordings of {name} are not in the other and are left out")
    metrics = _comparable(scores[0], scores[1], common)
    before, after = ([_chosen(one.records[name], metrics) for name in common] for one in scores)
    found = {each.metric: each for each in differences(before, after)}
    result = Comparison(*names, len(common), tuple(found[name] for name in tables.FORMS if name in found))
    if target is not None:
        records = [{**asdict(each), "real": each.real} for each in result.differences]
        write_json(target, {**asdict(result), "differences": records})
    _show(result, table)
    return result


def _load(path: Path, split: str, system: str | None) -> _Scores:
    folder = path
    if not (path / SUMMARY).is_file():
        folder = RunDir.open(path).path / split_folder("scores", split, system)
        if not (folder / SUMMARY).is_file():
            flag = f" --system {system}" if system else ""
            raise SepasrError(f"{folder}: no scores; run `sepasr score {path} --split {split}{flag}` first")
    try:
        summary = json.loads((folder / SUMMARY).read_text("utf-8"))
        lines = (folder / RECORDINGS).read_text("utf-8").splitlines()
        records = {record["id"]: record for record in map(json.loads, lines)}
        complete = {"text", "collar"} <= summary.keys() and all("references" in one for one in records.values())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SepasrError(f"{folder}: the scores are damaged; run `sepasr score` again") from None
    if not complete:
        raise SepasrError(f"{folder}: scored by an earlier version; run `sepasr score` again")
    return _Scores(folder, summary, records)


def _names(first: Path, second: Path) -> tuple[str, str]:
    """Short names that differ.

    >>> _names(Path("runs/a"), Path("runs/b")), _names(Path("a/scores/test"), Path("b/scores/test"))
    (('a', 'b'), ('a/scores/test', 'b/scores/test'))
    """
    ends = first.resolve().name, second.resolve().name
    return ends if ends[0] != ends[1] else (str(first), str(second))


def _comparable(first: _Scores, second: _Scores, common: list[str]) -> set[str]:
    """The metrics that both sides have by the same references and rules.

    Raises:
        SepasrError: where the references are not the same.
    """
    found: set[str] = set()
    for kind, metrics in KINDS.items():
        pairs = [(first.records[name]["references"], second.records[name]["references"]) for name in common]
        both = [
            (name, one[kind], other[kind])
            for name, (one, other) in zip(common, pairs, strict=True)
            if kind in one and kind in other
        ]
        if not both:
            continue
        if kind == "words" and first.summary["text"] != second.summary["text"]:
            raise SepasrError(
                f"{first.folder} was scored with text '{first.summary['text']}', {second.folder} with "
                f"'{second.summary['text']}'; score both with the same --text"
            )
        if other := [name for name, one, another in both if one != another]:
            raise SepasrError(
                f"{len(other)} of {len(both)} recordings have other references of {kind} in {first.folder} than in "
                f"{second.folder} ({other[0]} the first); compare systems on the same data"
            )
        found |= set(metrics)
    if first.summary["collar"] != second.summary["collar"] and "tcpwer" in found:
        warn(f"tcpWER is left out: collars of {first.summary['collar']:g} and {second.summary['collar']:g} s")
        found.discard("tcpwer")
    return found


def _chosen(record: Mapping[str, Any], metrics: set[str]) -> dict[str, Mean]:
    return {name: part for name, part in parts_of(record).items() if name in metrics}


def _show(result: Comparison, table: TableFormat | None) -> None:
    rows = tables.comparison_table(result.differences, result.first, result.second)
    if table is not None:
        print(tables.rendered(tables.comparison_values(result.differences) if table == "csv" else rows, table))
        return
    tables.print_table(rows, f"{result.first} and {result.second}, {result.recordings} recordings in common")
    Console(highlight=False).print(
        "a difference is real where its 95 % interval leaves out zero (paired bootstrap over recordings)",
        soft_wrap=True,
    )
