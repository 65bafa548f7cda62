"""One hour against five minutes, both of 2 channels: peak memory and time a minute of `transcribe` and `separate`.

Both commands run as they are, each in a fresh process, on generated turns of two talkers, with a small mask-based MVDR
and a small recogniser of random weights: what is measured is whether anything grows with the length, not how fast the
models are. The memory of the hour over time is drawn in long_form_memory.svg.

    python benchmarks/long_form.py
"""

import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from measure import Row, in_child, parser, peak_memory, prepared, report
from scipy.signal import lfilter

import sepasr_cli
from sepasr_cli import audio
from sepasr_cli.audio import Audio
from sepasr_cli.features import FilterbankConfig
from sepasr_cli.joint import JointModel
from sepasr_cli.randomness import generator
from sepasr_cli.recognition.conformer import ConformerConfig
from sepasr_cli.recognition.recognizer import Recognizer, RecognizerConfig
from sepasr_cli.recognition.tokens import Vocabulary
from sepasr_cli.recognition.transformer_decoder import TransformerDecoderConfig
from sepasr_cli.separation import MaskMVDR, MaskMVDRConfig

RATE = 16000
PLOT = Path(__file__).with_name("long_form_memory.svg")
#: Seconds between two looks at the memory.
LOOK = 0.5


def main() -> None:
    """Measure, draw and print."""
    options = parser(__doc__)
    options.add_argument("--minutes", type=float, nargs=2, default=(5, 60), help="of both recordings (default: 5 60)")
    options = prepared(options.parse_args())
    rows, curves = [], {}
    with tempfile.TemporaryDirectory() as folder:
        small_model().save_pretrained(Path(folder, "model"))
        files = [Path(folder, f"{minutes:g}.flac") for minutes in options.minutes]
        for path, minutes in zip(files, options.minutes, strict=True):
            audio.write_blocks(path, talk(minutes), RATE)
        for command in ("transcribe", "separate"):
            short, long = (in_child(run, command, path, Path(folder), options) for path in files)
            curves[command] = long[2]
            (few, many), name = options.minutes, f"{command}, {options.minutes[1]:g} minutes"
            rows += [
                Row(f"peak memory, {name}", short[1], long[1], 1 / 1.1, "MiB"),
                Row(f"time a minute, {name}", short[0] / few, long[0] / many, 1 / 1.1),
            ]
    PLOT.write_text(drawn(curves, f"Memory, {options.minutes[1]:g} minutes of 2 channels"), encoding="utf-8")
    report("long_form", rows, options.device)


def run(command: str, path: Path, folder: Path, options: Namespace) -> tuple[float, float, list[tuple[float, float]]]:
    """What a command takes: seconds, MiB at most, and (seconds, MiB) now and then; in a process of its own."""
    torch.set_num_threads(options.threads)
    looks: list[tuple[float, float]] = []
    done = threading.Event()
    began = time.monotonic()

    def look() -> None:
        while not done.wait(LOOK):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            looks.append((time.monotonic() - began, pages * 4096 / 2**20))

    watcher = threading.Thread(target=look)
    watcher.start()
    settings = {"model": str(folder / "model"), "out": folder / command, "device": options.device}
    if command == "transcribe":
        sepasr_cli.transcribe([path], decoding="greedy", **settings).check()
    else:
        sepasr_cli.separate([path], **settings).check()
    seconds = time.monotonic() - began
    done.set()
    watcher.join()
    return seconds, peak_memory(options.device), looks


def talk(minutes: float) -> Iterator[Audio]:
    """Two talkers who take turns of a few seconds, some of them at once, at two microphones: pieces (2, n)."""
    for number in range(round(2 * minutes)):
        draw = generator(0, "long_form", number)
        voices = np.zeros((2, 30 * RATE))
        at, who = 0, 0
        while at < voices.shape[1]:
            level = np.repeat(draw.uniform(0.05, 1, int(draw.integers(10, 50))), RATE // 10)[: voices.shape[1] - at]
            sound = lfilter([1], [1, (-0.9, -0.4)[who]], draw.standard_normal(len(level)))
            voices[who, at : at + len(level)] += level * sound / sound.std()
            at += len(level) + round(draw.uniform(-1, 2) * RATE)
            at, who = max(at, 0), 1 - who
        # The microphones hear each talker from another side: one sample earlier or later.
        second = np.stack([np.roll(voices[0], 1), np.roll(voices[1], -1)]).sum(0)
        mixture = np.stack([voices.sum(0), second]) + 0.01 * draw.standard_normal((2, voices.shape[1]))
        yield (0.08 * mixture).clip(-1, 1).astype(np.float32)


def small_model() -> JointModel:
    """A separator and a recogniser of random weights, small enough for an hour in minutes."""
    torch.manual_seed(0)
    separator = MaskMVDR(MaskMVDRConfig(microphones=2, layers=1, lstm=64, projection=64))
    config = RecognizerConfig(
        features=FilterbankConfig(),
        encoder=ConformerConfig(blocks=2, size=64, heads=2, feed_forward=128, subsampling=4),
        decoder=TransformerDecoderConfig(blocks=1, heads=2, feed_forward=128),
        vocabulary=Vocabulary.train(["ABC DEF"], "characters"),
    )
    return JointModel.join(separator, Recognizer(config)).eval()


def drawn(curves: dict[str, list[tuple[float, float]]], title: str) -> str:
    """Curves of (seconds, MiB) as a picture in SVG."""
    width, height, left, top = 640, 280, 60, 40
    last = max(seconds for curve in curves.values() for seconds, _ in curve)
    highest = 1.15 * max(memory for curve in curves.values() for _, memory in curve)
    lines = [f'<text x="{left}" y="20">{title}, over time of processing</text>']
    for step in range(5):
        y = top + height * (1 - step / 4)
        lines.append(f'<line x1="{left}" x2="{left + width}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        lines.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{highest * step / 4:.0f}</text>')
        x = left + width * step / 4
        lines.append(f'<text x="{x}" y="{top + height + 18}" text-anchor="middle">{last * step / 4:.0f} s</text>')
    lines.append(f'<text x="{left - 6}" y="{top - 10}" text-anchor="end">MiB</text>')
    for number, ((name, curve), colour) in enumerate(zip(curves.items(), ("#0b6", "#c40"), strict=True)):
        points = " ".join(
            f"{left + width * seconds / last:.1f},{top + height * (1 - memory / highest):.1f}"
            for seconds, memory in curve
        )
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        lines.append(f'<text x="{left + 20 + 120 * number}" y="{top + 20}" fill="{colour}">{name}</text>')
    body = "\n".join(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 40}" height="{top + height + 40}" '
        f'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


if __name__ == "__main__":
    main()
