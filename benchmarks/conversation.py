"""A conversation of two test speakers of a run: does everyone stay in one stream, and what do words lose to the length?

A room is drawn and rendered by the run's recipe. Two people take turns in it for ten minutes, with pauses and
interruptions, some of them whole utterances spoken at once. The recording goes through the pipeline as a file would.
Reported are the share of windows in which both speakers are in their streams, and cpWER: of the recording as a whole;
of its streams cut at the true times of utterances; of the recording cut at those times, each part separated alone,
where the stream most alike to the speaker is taken; and of each utterance without any other sound. Last, shorter
conversations are separated whole and in windows.

    python benchmarks/conversation.py runs/an4
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, permutations
from pathlib import Path

import numpy as np
import torch
from measure import Row, parser, prepared, report

from sepasr_cli import audio
from sepasr_cli.audio import Audio
from sepasr_cli.corpora import read_corpora, read_speech
from sepasr_cli.inference.pipeline import WINDOW, Pipeline
from sepasr_cli.inference.summary import Summary
from sepasr_cli.joint import JointModel
from sepasr_cli.manifest import Utterance
from sepasr_cli.randomness import generator
from sepasr_cli.recipe import Recipe
from sepasr_cli.rundir import RunDir
from sepasr_cli.scoring.bss_eval import si_sdr
from sepasr_cli.scoring.signals import best_order
from sepasr_cli.scoring.words import score_words, word_errors
from sepasr_cli.simulation.config import FolderNoise
from sepasr_cli.simulation.noise import make_noise
from sepasr_cli.simulation.rendering import Rendered, mix, responses
from sepasr_cli.simulation.sampling import Placement, draw_levels, draw_noise, draw_room, noise_files
from sepasr_cli.stages.transcribe import build_pipeline

#: Seconds of a conversation that is separated both whole and in windows.
HALF_MINUTE = 30.0
#: Share of the turns that begin while the other speaks; mean pause before the others, in seconds; share of the turns
#: after which the other one speaks.
INTERRUPTIONS, PAUSE, EXCHANGE = 0.25, 0.7, 0.8


@dataclass(frozen=True)
class Turn:
    """What speaker `who` says from sample `start` to `end`."""

    who: int
    start: int
    end: int
    text: str


def converse(
    recipe: Recipe, speech: dict[str, list[Utterance]], seconds: float, seed: int
) -> tuple[Rendered, list[Turn]]:
    """A conversation of two of the speakers in a room of the recipe's, and its turns."""
    draw, rate = generator(seed, "conversation"), recipe.sample_rate
    pair = [speech[name] for name in draw.permutation(sorted(speech))[:2]]
    dry = np.zeros((2, round(seconds * rate)), np.float32)
    turns: list[Turn] = []
    free, decks, who = [0, 0], [[], []], 0
    while True:
        decks[who] = decks[who] or [pair[who][index] for index in draw.permutation(len(pair[who]))]
        utterance = decks[who].pop()
        sound = read_speech(utterance, rate)
        ended = max(free)
        if draw.random() < INTERRUPTIONS:
            start = ended - round(draw.uniform(0.2, 1) * len(sound))
        else:
            start = ended + round(draw.exponential(PAUSE) * rate)
        start = max(start, free[who] + rate // 10, 0)
        if start + len(sound) > dry.shape[1]:
            break
        dry[who, start : start + len(sound)] = sound / np.sqrt(np.square(sound).mean())
        turns.append(Turn(who, start, start + len(sound), utterance.text or ""))
        free[who] = start + len(sound)
        who = 1 - who if draw.random() < EXCHANGE else who
    config = recipe.simulation
    room = draw_room(config, draw)
    noise = draw_noise(config, draw, noise_files(config.noise, "test"))
    folder = config.noise.path if isinstance(config.noise, FolderNoise) else None
    places = np.array(room.microphones)
    heard = None if noise is None else make_noise(noise, draw, places, dry.shape[1], rate, folder)
    rendered = mix(
        list(dry),
        Placement((0, 0), (dry.shape[1],) * 2, dry.shape[1]),
        draw_levels(config, draw),
        responses(room, rate),
        reference_microphone=config.reference_microphone,
        level_dbfs=config.level_dbfs,
        noise=heard,
        snr_db=noise.snr_db if noise else 0.0,
    )
    return rendered, turns


def recognise(pipeline: Pipeline, parts: Sequence[Audio], rate: int) -> list[str]:
    """The words of each part (N,), those of about one length together."""
    assert pipeline.recognizer is not None
    texts = [""] * len(parts)
    order = sorted(range(len(parts)), key=lambda index: len(parts[index]))
    for first in range(0, len(order), 8):
        group = order[first : first + 8]
        sounds = [torch.from_numpy(audio.resample(parts[index], rate, pipeline.sample_rate)) for index in group]
        lengths = torch.tensor([len(sound) for sound in sounds], device=pipeline.device)
        padded = torch.nn.utils.rnn.pad_sequence(sounds, batch_first=True).to(pipeline.device)
        said = pipeline.recognizer.transcribe(padded, lengths, pipeline.decoding, pipeline.language_model)
        for index, found in zip(group, said, strict=True):
            texts[index] = found.text
    return texts


def in_order(streams: Audio, references: Audio) -> list[int]:
    """The stream of each speaker."""
    similarity = references.astype(np.float64) @ streams.T.astype(np.float64)
    return list(max(permutations(range(len(streams))), key=lambda order: similarity[range(len(order)), order].sum()))


def errors(turns: Sequence[Turn], texts: Sequence[str]) -> float:
    """Word error rate where it is known which words answer to which turn."""
    found = sum(word_errors(turn.text, text) for turn, text in zip(turns, texts, strict=True))
    return found.errors / found.length


def measure(pipeline: Pipeline, rendered: Rendered, turns: Sequence[Turn], rate: int) -> list[Row]:
    """Everything that is reported."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "conversation.flac")
        audio.write(path, rendered.mixture, rate)
        recording, summary = pipeline.prepare(path), Summary()
        segments = pipeline.transcribe(recording, "conversation", summary=summary)
        streams = np.concatenate(list(pipeline.separate(recording)), axis=1)
        cuts = [_separate_part(pipeline, Path(folder, "part.wav"), rendered, turn, rate) for turn in turns]
    said = [" ".join(turn.text for turn in turns if turn.who == who) for who in range(2)]
    given = [" ".join(one.words for one in segments if one.speaker == name) for name in {s.speaker for s in segments}]
    whole = score_words(said, given)[0].words
    order = in_order(streams, rendered.early)
    edges = [0, *(round(join.start * rate / summary.sample_rate) for join in summary.joins), streams.shape[1]]
    windows = [slice(*edge) for edge in pairwise(edges)]
    right = np.mean([in_order(streams[:, part], rendered.early[:, part]) == order for part in windows])
    parts = [streams[order[turn.who], turn.start : turn.end] for turn in turns]
    alone = [rendered.early[turn.who, turn.start : turn.end] for turn in turns]
    kept = np.mean(
        [
            int(np.abs(streams[:, turn.start : turn.end] @ own).argmax()) == order[turn.who]
            for turn, own in zip(turns, alone, strict=True)
        ]
    )
    ways = [join.by for join in summary.joins]
    print(f"{len(turns)} turns, {len(segments)} segments found, {len(windows)} windows, joined by: ", end="")
    print(", ".join(f"{way} {ways.count(way)}" for way in ("overlap", "voices", "neither")))
    print(f"windows in the right order {right:.1%}, turns in their speaker's stream {kept:.1%}")
    print(
        f"whole: {whole.substitutions} substitutions, {whole.deletions} deletions, {whole.insertions} insertions "
        f"in {whole.length} words"
    )
    peers = {
        "cpWER against its streams cut at the true times": parts,
        "cpWER against the recording cut at the true times": cuts,
        "cpWER against each utterance without other sound": alone,
    }
    rows = [
        Row(name, errors(turns, recognise(pipeline, sounds, rate)), whole.errors / whole.length, unit="")
        for name, sounds in peers.items()
    ]
    return [Row("windows, against those in the right order", float(right), 1.0, unit=""), *rows]


def _separate_part(pipeline: Pipeline, path: Path, rendered: Rendered, turn: Turn, rate: int) -> Audio:
    """A turn's speaker, from that part of the recording alone; the stream most alike to what was said."""
    audio.write(path, rendered.mixture[:, turn.start : turn.end], rate)
    streams = np.concatenate(list(pipeline.separate(pipeline.prepare(path))), axis=1)
    own = rendered.early[turn.who, turn.start : turn.end]
    return streams[int(np.abs(streams @ own / np.sqrt(np.square(streams).sum(1) + 1e-10)).argmax())]


def windows_against_whole(system: JointModel, conversations: Sequence[Rendered], rate: int) -> Row:
    """What SI-SDR loses when recordings of half a minute are separated in windows, against the 0.3 dB allowed."""
    found: dict[float, list[float]] = {WINDOW: [], HALF_MINUTE: []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "conversation.flac")
        for rendered in conversations:
            audio.write(path, rendered.mixture, rate)
            for window, ratios in found.items():
                pipeline = Pipeline(system, window=window)
                streams = np.concatenate(list(pipeline.separate(pipeline.prepare(path))), axis=1)
                table = si_sdr(rendered.early.astype(np.float64), streams.astype(np.float64))
                ratios += [table[speaker, stream] for speaker, stream in enumerate(best_order(table))]
    windows, whole = (float(np.mean(ratios)) for ratios in found.values())
    print(f"SI-SDR of {len(conversations)} conversations of 30 s: {whole:.2f} dB whole, {windows:.2f} dB in windows")
    return Row("SI-SDR lost in windows, 30 s, against what is allowed", 0.3, max(whole - windows, 0.01), 1, "dB")


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("run", help="run directory with a trained system")
    options.add_argument("--minutes", type=float, default=10)
    options.add_argument("--seed", type=int, default=0, help="of speakers, room and turns")
    options.add_argument("--microphones", type=int, help="the first of the recipe's; all by default")
    options.add_argument("--short", type=int, default=8, help="conversations of 30 s, separated whole and in windows")
    given = prepared(options.parse_args())
    run = RunDir.open(given.run)
    recipe = run.recipe()
    speech: dict[str, list[Utterance]] = {}
    for utterance in read_corpora(recipe.corpora.test, False, recipe.sample_rate):
        speech.setdefault(utterance.speaker, []).append(utterance)

    def heard(seconds: float, seed: int) -> tuple[Rendered, list[Turn]]:
        rendered, turns = converse(recipe, speech, seconds, seed)
        return replace(rendered, mixture=rendered.mixture[: given.microphones]), turns

    rendered, turns = heard(60 * given.minutes, given.seed)
    pipeline = build_pipeline(given.run, None, None, None, given.device, "auto", {}, False, False)
    assert isinstance(pipeline.model, JointModel)
    rows = measure(pipeline, rendered, turns, recipe.sample_rate)
    shorter = [heard(HALF_MINUTE, seed)[0] for seed in range(given.short)]
    rows += [windows_against_whole(pipeline.model, shorter, recipe.sample_rate)] if shorter else []
    report("conversation", rows, given.device)


if __name__ == "__main__":
    main()
