"""Speech made by eSpeak NG, in many voices, from a small grammar or given lines: for demos and tests without data.

A voice (accent, variant, pitch, rate) is drawn from (seed, speaker), a text from (seed, speaker, number). The audio is
kept in the folder `path`, one WAV file for each voice, text and sample rate; what is there is used again.
"""

import functools
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from sepasr_cli import audio
from sepasr_cli.corpora.corpus import Checks, Corpus, Entry, admit, lines
from sepasr_cli.errors import SepasrError
from sepasr_cli.files import fingerprint
from sepasr_cli.manifest import Utterance
from sepasr_cli.progress import progress
from sepasr_cli.randomness import generator

ACCENTS = ("en", "en-US", "en-029", "en-GB-x-rp", "en-GB-scotland", "en-GB-x-gbclan", "en-GB-x-gbcwmd", "en-US-nyc")
VARIANTS = ("f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m7")

DIGITS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
TENS = ("TWENTY", "THIRTY", "FORTY", "FIFTY", "SIXTY", "SEVENTY", "EIGHTY", "NINETY")
MONTHS = (
    "JANUARY",
    "FEBRUARY",
    "MARCH",
    "APRIL",
    "MAY",
    "JUNE",
    "JULY",
    "AUGUST",
    "SEPTEMBER",
    "OCTOBER",
    "NOVEMBER",
    "DECEMBER",
)
DAYS = (
    "FIRST",
    "SECOND",
    "THIRD",
    "FOURTH",
    "FIFTH",
    "SIXTH",
    "SEVENTH",
    "EIGHTH",
    "NINTH",
    "TENTH",
    "ELEVENTH",
    "TWELFTH",
)
NAMES = (
    "ALICE",
    "BRUNO",
    "CLARA",
    "DAVID",
    "EMMA",
    "FRANK",
    "GRACE",
    "HENRY",
    "IRIS",
    "JACK",
    "KAREN",
    "LEWIS",
    "MARIA",
    "NORA",
    "OSCAR",
    "PAUL",
    "ROSE",
    "SIMON",
)
COMMANDS = ("GO", "STOP", "YES", "NO", "HELP", "REPEAT", "ERASE", "START", "ENTER", "RUBOUT")

#: Sample rate in Hz where a reader is used alone.
SAMPLE_RATE = 16000


class Espeak(Corpus):
    """Synthetic speech; `path` is the folder that keeps it. Of two corpora, another seed means other speakers."""

    kind: Literal["espeak"] = "espeak"
    voices: int = Field(10, gt=0, description="number of speakers; they are called espeak<seed>-000 and so on")
    utterances: int = Field(20, gt=0, description="number of utterances of each speaker")
    text_file: Path | None = Field(
        None, description="file with one text a line to draw from; None: the built-in grammar"
    )
    seed: int = Field(0, ge=0)


def read(config: Espeak, checks: Checks | None = None) -> list[Utterance]:
    """The utterances of all speakers, made where they are not there yet, at the run's sample rate.

    Raises:
        SepasrError: where eSpeak NG is not installed, or refuses a text.
    """
    sample_rate = (checks and checks.sample_rate) or SAMPLE_RATE
    library, data = _espeak()
    texts = [line for _, line in lines(config.text_file)] if config.text_file is not None else None
    if texts == []:
        raise SepasrError(f"{config.text_file}: holds no text; expected one utterance a line")
    entries: list[Entry] = []
    wanted: dict[Path, dict[str, Any]] = {}
    for number in range(config.voices):
        speaker = f"espeak{config.seed}-{number:03d}"
        voice = _voice(config.seed, speaker)
        for place in range(config.utterances):
            text = _text(config.seed, speaker, place, texts)
            job = {**voice, "text": _pronounced(text)}
            mark = fingerprint(job, sample_rate, _program(library))
            path = config.path.absolute() / speaker / f"{place:03d}-{mark}.wav"
            entries.append(Entry(f"{speaker}-{place:03d}", path, speaker, text, f"espeak {speaker}"))
            wanted[path] = job
    missing = {path: job for path, job in wanted.items() if not path.is_file()}
    if missing:
        with progress("espeak", len(missing)) as advance, ThreadPoolExecutor(os.cpu_count()) as pool:
            make = functools.partial(_make, library, data, sample_rate)
            for _ in pool.map(make, missing, missing.values()):
                advance()
    return admit(entries, config, checks)


def _espeak() -> tuple[str, str]:
    """The paths of eSpeak NG's library and data."""
    try:
        import espeakng_loader
    except ImportError:
        raise SepasrError("corpus espeak: eSpeak NG is not installed; run: pip install 'sepasr[espeak]'") from None
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()


@functools.lru_cache(maxsize=1)
def _program(library: str) -> str:
    """Changes with eSpeak's version, so that audio of another one is not used again."""
    return fingerprint(Path(library))


def _voice(seed: int, speaker: str) -> dict[str, Any]:
    rng = generator(seed, "voice", speaker)
    return {
        "voice": f"gmw/{rng.choice(ACCENTS)}+{rng.choice(VARIANTS)}",
        "rate": int(rng.integers(120, 170)),
        "pitch": int(rng.integers(25, 75)),
        "range": int(rng.integers(30, 80)),
    }


def _text(seed: int, speaker: str, place: int, texts: list[str] | None) -> str:
    rng = generator(seed, "text", speaker, place)
    return str(rng.choice(texts)) if texts is not None else draw_text(rng)


def draw_text(rng: np.random.Generator) -> str:
    """One utterance of the grammar: a spelled name, digits, a command or a date.

    >>> [draw_text(generator(0, place)) for place in range(3)] == [draw_text(generator(0, place)) for place in range(3)]
    True
    """
    kind = rng.integers(4)
    if kind == 0:
        name = str(rng.choice(NAMES))
        return f"{name} {' '.join(name)}"
    if kind == 1:
        return " ".join(rng.choice(DIGITS, size=rng.integers(3, 8)))
    if kind == 2:
        return f"{rng.choice(COMMANDS)} {rng.choice(TENS)} {rng.choice(DIGITS[1:])}"
    return f"{rng.choice(MONTHS)} {rng.choice(DAYS)} NINETEEN {rng.choice(TENS)} {rng.choice(DIGITS[1:])}"


def _pronounced(text: str) -> str:
    """Words in lower case, for capitals may be read as initials; a single letter stays one, to be named.

    >>> _pronounced("ROSE R O S E")
    'rose R O S E'
    """
    return " ".join(word if len(word) == 1 else word.lower() for word in text.split())


def _make(library: str, data: str, sample_rate: int, path: Path, job: dict[str, Any]) -> None:
    program = Path(__file__).with_name("espeak_process.py")
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(program), library, data], input=json.dumps(job).encode(), capture_output=True
    )
    samples = np.frombuffer(done.stdout[4:], "<i2").astype(np.float32) / 32768
    if done.returncode != 0 or not samples.any():
        reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it makes no sound"]
        raise SepasrError(
            f"corpus espeak: '{job['text'][:60]}' in voice {job['voice']}: {reason[0]}; change the text or the seed"
        )
    speech = audio.resample(samples, int.from_bytes(done.stdout[:4], "little"), sample_rate)
    audio.write(path, speech * min(1.0, 0.99 / float(np.abs(speech).max())), sample_rate)
