"""The figures of docs/RESULTS.md: each row of its tables is one command.

    python recipes/bundled/results.py list
    python recipes/bundled/results.py tfgridnet_joint-noisy-2
    python recipes/bundled/results.py 'mixture-*' 'oracle_*' 'tfgridnet_*'
    python recipes/bundled/results.py all plots tables

A row is SYSTEM-CONDITION-MICROPHONES, or SYSTEM-clean-greedy and SYSTEM-clean-beam for the recogniser alone. What it
takes is made first: a condition's mixtures, by `sepasr simulate` with `test_CONDITION.yaml`, are the same for all
systems and numbers of microphones. A row is kept, and not measured again while models, data and settings stay.

`plots` draws the charts, `tables` puts the figures into docs/RESULTS.md, both from the rows that are there.
"""

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results_page import (
    ADAPTED,
    CONDITIONS,
    MAIN,
    ONE_MICROPHONE,
    SCORED_METRICS,
    TWO_STAGES,
    draw_plots,
    fill_tables,
    told,
)

from sepasr_cli import audio, simulate
from sepasr_cli.audio import Audio
from sepasr_cli.corpora import read_corpora
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import fingerprint, read_json, write_json
from sepasr_cli.inference.pipeline import Pipeline
from sepasr_cli.joint import JointModel
from sepasr_cli.manifest import Mixture, read_manifest
from sepasr_cli.pretrained import System, language_model_of
from sepasr_cli.progress import progress, say, warn
from sepasr_cli.recipe import load_recipe
from sepasr_cli.scoring.material import spoken
from sepasr_cli.scoring.report import RecordingScore, summarise
from sepasr_cli.scoring.signals import score_signals
from sepasr_cli.scoring.words import COLLAR, score_transcripts
from sepasr_cli.separation.oracle import oracle_mvdr
from sepasr_cli.stages.joint_finetune import beamforming
from sepasr_cli.stages.transcribe import build_pipeline
from sepasr_cli.training.speech import LabelledSpeech, corpus_speech
from sepasr_cli.transcripts import Segment

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "RESULTS.md"

#: Systems without a model, and their numbers of microphones.
UNTRAINED = {"mixture": "1", "oracle_references": "1", "oracle_mvdr": "124"}
#: Systems with a model: the folder of the run, and which of its two systems.
MODELS: dict[str, tuple[str, System]] = {
    "tfgridnet_cascade": (MAIN, "cascade"),
    "tfgridnet_filtered": (MAIN, "cascade"),
    "tfgridnet_joint": (MAIN, "joint"),
    "two_stage_adapted": (ADAPTED, "cascade"),
    "mask_mvdr_cascade": (f"{MAIN}_mvdr", "cascade"),
    "mask_mvdr_joint": (f"{MAIN}_mvdr", "joint"),
}
#: The one whose estimates also steer filters, as the joint system's do.
FILTERED = "tfgridnet_filtered"
#: Numbers of microphones of every system; filters take several.
COUNTS = UNTRAINED | dict.fromkeys(MODELS, "124") | dict.fromkeys((FILTERED, "tfgridnet_joint"), "24")
#: Weights of the language model, of which the dev speakers choose one for clean speech.
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
#: Both texts in capitals, without punctuation, as `sepasr score` compares them.
TEXT = "basic"


@dataclass(frozen=True)
class Row:
    """One measurement; `setting` is the number of microphones, or how clean speech is decoded."""

    system: str
    condition: str
    setting: str

    @property
    def name(self) -> str:
        """The row's name on the command line and of its file."""
        return f"{self.system}-{self.condition}-{self.setting}"


def all_rows(variants: Sequence[str] = ()) -> dict[str, Row]:
    """Every row by its name, those of fine-tuning variants last.

    >>> list(all_rows(["finetune_low"]))[-2:]
    ['finetune_low-noisy-2', 'finetune_low-clean-beam']
    """
    found = [Row(system, condition, count) for system in COUNTS for condition in CONDITIONS for count in COUNTS[system]]
    for system in ("tfgridnet_cascade", "tfgridnet_joint", "two_stage_adapted", "mask_mvdr_joint"):
        found += [Row(system, "clean", search) for search in ("greedy", "beam")]
    for variant in variants:
        found += [Row(variant, "noisy", "2"), Row(variant, "clean", "beam")]
    return {row.name: row for row in found}


def chosen_rows(wanted: Sequence[str], rows: Mapping[str, Row]) -> list[Row]:
    """The rows that names or patterns mean, each once, in the order of `rows`.

    Raises:
        SepasrError: where one means none.
    """
    for pattern in wanted:
        if not any(fnmatchcase(name, pattern) for name in rows):
            raise SepasrError(f"'{pattern}' is no row and fits none; `results.py list` names them")
    return [row for name, row in rows.items() if any(fnmatchcase(name, pattern) for pattern in wanted)]


def find_variants(runs: Path) -> list[str]:
    """The runs that differ from the main one in their fine-tuning alone, by what follows its name."""
    known = {ONE_MICROPHONE, TWO_STAGES, *(folder for folder, _ in MODELS.values())}
    found = [path.parents[1].name for path in sorted(runs.glob(f"{MAIN}_*/joint/model.safetensors"))]
    return [name.removeprefix(f"{MAIN}_") for name in found if name not in known]


def models_of(row: Row) -> tuple[str, System]:
    """The folder of a row's run and which of its systems; what has no model is heard by the cascade."""
    if row.system in UNTRAINED:
        return MAIN, "cascade"
    folder, kind = MODELS.get(row.system, (f"{MAIN}_{row.system}", "joint"))
    return ONE_MICROPHONE if (folder, row.setting) == (MAIN, "1") else folder, kind


@lru_cache(maxsize=1)
def load_pipeline(folder: str, kind: System, runs: Path, filtered: bool, greedy: bool, whole: bool) -> Pipeline:
    """The models of a run, searching as its recipe says, `greedy` instead; `whole` streams, or the speech in them."""
    run, main = runs / folder, runs / MAIN
    own = kind == "joint" or (run / "recognizer" / "model.safetensors").is_file()
    homes = [str(home) for home in (run, main) if home.is_dir()]
    language_model = next(filter(None, map(language_model_of, homes)), None)
    recognizer, search = None if own else str(main), {"method": "greedy"} if greedy else {}
    found = build_pipeline(str(run), kind, recognizer, language_model, "cpu", "auto", search, False, whole)
    if not filtered:
        return found
    assert isinstance(found.model, JointModel)
    model, heard = beamforming(found.model), found.language_model
    return Pipeline(model, found.decoding, precision="auto", language_model=heard, whole=whole)


def measure(row: Row, runs: Path, results: Path) -> None:
    """Measure a row and keep it, unless it is there, of the same models, data and settings."""
    target = results / "rows" / f"{row.name}.json"
    greedy, clean = row.setting == "greedy", row.condition == "clean"
    pipeline = load_pipeline(*models_of(row), runs, row.system == FILTERED, greedy, clean)
    made_from: dict[str, Any] = {
        "model": pipeline.fingerprint(),
        "decoding": pipeline.decoding.model_dump(mode="json"),
        "precision": pipeline.precision,
    }
    if clean:
        recipe = load_recipe(HERE / "test_noisy.yaml")
        rate = pipeline.sample_rate
        test, dev = (
            corpus_speech(read_corpora(part, False, rate), rate) for part in (recipe.corpora.test, recipe.corpora.dev)
        )
        made_from["data"] = fingerprint([(one.id, one.text) for one in (*test, *dev)])
    else:
        manifest = results / f"data_{row.condition}" / "data" / "test.jsonl"
        simulate(manifest.parents[1], recipe=HERE / f"test_{row.condition}.yaml")
        made_from["data"] = fingerprint(manifest)
    if target.is_file() and read_json(target, "remove it")["made_from"] == made_from:
        say(f"{row.name}: {told(read_json(target, 'remove it'))}; measured before")
        return
    began = time.perf_counter()
    extra: dict[str, Any] = {}
    if clean:
        if row.setting == "beam":
            extra = _choose_weight(pipeline, dev)
        recordings = _score_clean(pipeline, test)
    else:
        recordings = _score_mixtures(row, pipeline, manifest)
    record = {
        "row": row.name,
        "made_from": made_from,
        "seconds": round(time.perf_counter() - began, 1),
        "threads": torch.get_num_threads(),
        **extra,
        "summary": summarise(recordings, "early", TEXT),
        "recordings": [recording.record() for recording in recordings],
    }
    write_json(target, record)
    say(f"{row.name}: {told(record)}; {len(recordings)} recordings in {record['seconds']} s")


def separate(row: Row, pipeline: Pipeline, mixture: Mixture, folder: Path) -> tuple[Audio, Audio, Audio]:
    """One mixture under a system: the estimates (S, N), the early references (S, N), the reference microphone (N,)."""
    path = folder / mixture.audio
    heard, _ = audio.read(path)
    references = np.concatenate([audio.read(folder / str(source.early))[0] for source in mixture.sources])
    reference = audio.channel(heard, mixture.reference_microphone)
    count = int(row.setting)
    if row.system == "mixture":
        estimates = np.stack([reference] * len(references))
    elif row.system == "oracle_references":
        estimates = references
    elif row.system == "oracle_mvdr":
        known = torch.from_numpy(references)[None]
        estimates = oracle_mvdr(torch.from_numpy(heard[:count])[None], known)[0].numpy()
    else:
        recording = pipeline.prepare(path, list(range(1, count + 1)))
        estimates = np.concatenate(list(pipeline.separate(recording)), axis=1)
    return estimates, references, reference


def _score_mixtures(row: Row, pipeline: Pipeline, manifest: Path) -> list[RecordingScore]:
    mixtures = read_manifest(manifest, Mixture)
    streams: dict[str, Audio] = {}
    signals = {}
    with progress(row.name, len(mixtures)) as advance:
        for mixture in mixtures:
            estimates, references, heard = separate(row, pipeline, mixture, manifest.parent)
            scores, order = score_signals(references, estimates, heard, mixture.sample_rate, SCORED_METRICS)
            streams[mixture.id], signals[mixture.id] = estimates, (scores, order)
            advance()
    said = pipeline.recognise(streams)
    recordings = []
    for mixture in mixtures:
        scores, order = signals[mixture.id]
        words, pairs = score_transcripts(spoken(mixture), said[mixture.id], TEXT, COLLAR, ("wer", "cer"))
        speakers = tuple(source.speaker for source in mixture.sources)
        names = tuple(f"spk{index + 1}" for index in order)
        recordings.append(RecordingScore(mixture.id, speakers, tuple(scores), names, words, pairs))
    return recordings


def _score_clean(pipeline: Pipeline, speech: Sequence[LabelledSpeech]) -> list[RecordingScore]:
    said = pipeline.recognise({one.id: np.atleast_2d(one.read()) for one in speech})
    recordings = []
    for one in speech:
        truth = Segment(session_id=one.id, speaker=one.speaker, start_time=0, end_time=one.duration, words=one.text)
        words, pairs = score_transcripts([truth], said[one.id], TEXT, COLLAR, ("wer", "cer"))
        recordings.append(RecordingScore(one.id, words=words, transcripts=pairs))
    return recordings


def _choose_weight(pipeline: Pipeline, dev: Sequence[LabelledSpeech]) -> dict[str, Any]:
    """Put in force the language model's weight with the fewest errors on the dev speakers, or the least of them."""
    if pipeline.language_model is None:
        return {}
    stated = pipeline.decoding
    tried: dict[float, int] = {}
    for weight in WEIGHTS:
        pipeline.decoding = stated.model_copy(update={"lm_weight": weight})
        summary = summarise(_score_clean(pipeline, dev), "early", TEXT)
        tried[weight] = summary["errors"]["wer"]["errors"]
    best = min(tried, key=lambda weight: (tried[weight], weight))
    pipeline.decoding = stated.model_copy(update={"lm_weight": best})
    return {"lm_weight": best, "dev_errors": {f"{weight:g}": errors for weight, errors in tried.items()}}


def main() -> int:
    """Do what the command line asks for; 1 where a row could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wanted", nargs="+", metavar="ROW", help="rows by name or pattern; all, list, plots, tables")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="where the runs are (default: runs)")
    parser.add_argument("--results", type=Path, help="where data and rows go (default: RUNS/results)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="processor cores in use (default: all)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = options.results or options.runs / "results"
    rows = all_rows(find_variants(options.runs))
    failed = False
    try:
        if "list" in options.wanted:
            print("\n".join(rows))
        every = "all" in options.wanted
        named = [name for name in options.wanted if name not in ("all", "list", "plots", "tables")]
        for row in list(rows.values()) if every else chosen_rows(named, rows):
            try:
                measure(row, options.runs, results)
            except SepasrError as error:
                warn(f"{row.name}: {error}")
                failed = True
        if "plots" in options.wanted:
            draw_plots(results, options.runs, PAGE.parent)
        if "tables" in options.wanted:
            fill_tables(results, options.runs, PAGE)
    except SepasrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
