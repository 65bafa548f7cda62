"""Scoring 200 mixtures of two speakers: SDR (with SIR and SAR), SI-SDR, STOI and WER.

The peers are mir_eval, pystoi and jiwer, one mixture after the other. Both sides read the same files of 6 s at 16 kHz,
whose signals are generated, or, with --speech, joined from the recordings in a folder. Ours is the whole command, from
its start to the tables and intervals, on --threads processes. It does all mixtures in every round, the peers another
part of them in each, since their time grows with the number of mixtures alone; both are given for all mixtures.
"""

import json
import resource
import subprocess
import sys
import tempfile
from argparse import Namespace
from itertools import permutations
from pathlib import Path
from typing import Any

import jiwer
import mir_eval
import numpy as np
import soundfile
from measure import Row, alternately, in_child, parser, peak_memory, prepared, report
from pystoi import stoi

from sepasr_cli import audio, transcripts
from sepasr_cli.randomness import generator
from sepasr_cli.transcripts import Segment

RATE, SECONDS, SPEAKERS = 16000, 6, ("s1", "s2")
METRICS = ("si_sdr", "sdr", "sir", "sar", "stoi", "wer")
#: Largest difference of any number, in dB (STOI has none); error rates must be the same.
TOLERANCE = 1e-4


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--mixtures", type=int, default=200, help="(default: 200)")
    options.add_argument("--speech", type=Path, help="folder of recordings, instead of generated signals")
    chosen = prepared(options.parse_args())
    with tempfile.TemporaryDirectory() as folder:
        names = make(Path(folder), chosen)
        report("score", measure(Path(folder), names, chosen))


def measure(folder: Path, names: list[str], options: Namespace) -> list[Row]:
    """The rows of the table."""
    parts = [names[number :: options.repeats] for number in range(options.repeats)]
    theirs: dict[str, dict[str, float]] = {}
    rounds = iter([names[:1], *parts])  # the first one is not measured

    def peer() -> None:
        part = next(rounds)
        theirs.update(_theirs(folder, part))

    ours: dict[str, Any] = {}
    tasks = {"peer": peer, "ours": lambda: ours.update(_ours(folder, options.threads))}
    seconds = alternately(tasks, options)
    seconds["peer"] *= len(names) / len(parts[0])
    rows = [Row(f"{len(names)} mixtures, {SECONDS} s", seconds["peer"], seconds["ours"], 5)]
    rows.append(Row("largest difference, dB", TOLERANCE, max(_difference(ours, theirs), 1e-16), 1, "dB"))
    memory = in_child(_peak, folder, names[:10]), in_child(_our_peak, folder)
    return [*rows, Row("peak memory of a process", *memory, None, "MiB")]


def make(folder: Path, options: Namespace) -> list[str]:
    """Write references, estimates and transcripts; returns the mixtures' names."""
    files = audio.find(options.speech) if options.speech else []
    names = [f"m{number:03}" for number in range(options.mixtures)]
    said, heard = [], []
    for name in names:
        rng = generator(0, name)
        references = np.stack([_speech(rng, files) for _ in SPEAKERS])
        leaked = references + 10 ** (-rng.uniform(10, 25) / 20) * references[::-1]
        response = rng.standard_normal((2, 64)) * np.exp(-np.arange(64) / 8)
        response[:, 0] = 2
        estimates = np.stack([np.convolve(one, taps)[: one.size] for one, taps in zip(leaked, response, strict=True)])
        estimates += 1e-3 * rng.standard_normal(estimates.shape)
        words = [rng.choice(["one", "two", "three", "four", "five"], 20).tolist() for _ in SPEAKERS]
        for place, speaker in enumerate(SPEAKERS):
            other = 1 - place  # the estimates are in the other order
            _write(folder / "ref" / f"{name}_{speaker}.wav", references[place])
            _write(folder / "est" / f"{name}_{speaker}.wav", estimates[other])
            said.append(_segment(name, speaker, words[place]))
            heard.append(_segment(name, speaker, [word for word in words[other] if rng.random() > 0.1]))
    transcripts.write(folder / "said.json", said)
    transcripts.write(folder / "heard.json", heard)
    return names


def _speech(rng: np.random.Generator, files: list[Path]) -> np.ndarray:
    if files:
        found = np.zeros(0)
        while found.size < SECONDS * RATE:
            samples, rate = audio.read(files[int(rng.integers(len(files)))])
            found = np.concatenate([found, audio.resample(samples[0], rate, RATE)])
        return found[: SECONDS * RATE]
    # Syllables of noise with pauses, duller than white.
    level = np.repeat(rng.random(SECONDS * 8) * (rng.random(SECONDS * 8) > 0.25), RATE // 8)
    return 0.1 * level * np.convolve(rng.standard_normal(level.size), np.hanning(9) / 2, "same")


def _write(path: Path, signal: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, 0.5 * signal / np.abs(signal).max(), RATE)


def _segment(name: str, speaker: str, words: list[str]) -> Segment:
    return Segment(session_id=name, speaker=speaker, start_time=0, end_time=SECONDS, words=" ".join(words))


def _ours(folder: Path, workers: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "sepasr_cli", "score", "--overwrite", "--workers", str(workers)]
    command += ["--reference", str(folder / "ref"), "--reference", str(folder / "said.json")]
    command += ["--estimate", str(folder / "est"), "--estimate", str(folder / "heard.json")]
    command += ["--metrics", ",".join(METRICS), "--out", str(folder / "scores")]
    subprocess.run(command, check=True, capture_output=True)
    lines = (folder / "scores/recordings.jsonl").read_text().splitlines()
    return {record["id"]: record for record in map(json.loads, lines)}


def _theirs(folder: Path, names: list[str]) -> dict[str, dict[str, float]]:
    said, heard = (transcripts.by_speaker(transcripts.read(folder / f"{side}.json")) for side in ("said", "heard"))
    found = {}
    for name in names:
        references, estimates = (
            np.stack([soundfile.read(folder / side / f"{name}_{speaker}.wav")[0] for speaker in SPEAKERS])
            for side in ("ref", "est")
        )
        ratios = mir_eval.separation.bss_eval_sources(references, estimates)
        scale = [[_si_sdr(reference, estimate) for estimate in estimates] for reference in references]
        order = max(permutations(range(2)), key=lambda order: scale[0][order[0]] + scale[1][order[1]])
        values = dict(zip(("sdr", "sir", "sar"), map(np.mean, ratios[:3]), strict=True))
        values["si_sdr"] = np.mean([scale[row][column] for row, column in enumerate(order)])
        values["stoi"] = np.mean([stoi(references[row], estimates[column], RATE) for row, column in enumerate(order)])
        values["wer"] = min(
            jiwer.wer(list(said[name].values()), [list(heard[name].values())[column] for column in order])
            for order in permutations(range(2))
        )
        found[name] = values
    return found


def _si_sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    target = reference * (estimate @ reference) / (reference @ reference)
    return 10 * np.log10((target @ target) / ((estimate - target) @ (estimate - target)))


def _difference(ours: dict[str, Any], theirs: dict[str, dict[str, float]]) -> float:
    assert ours.keys() == theirs.keys()
    assert all(abs(ours[name]["wer"] - theirs[name]["wer"]) < 1e-12 for name in theirs)
    return max(abs(ours[name][metric] - value) for name, values in theirs.items() for metric, value in values.items())


def _peak(folder: Path, names: list[str]) -> float:
    _theirs(folder, names)
    return peak_memory()


def _our_peak(folder: Path) -> float:
    """The most that any one of our processes held."""
    _ours(folder, 2)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
