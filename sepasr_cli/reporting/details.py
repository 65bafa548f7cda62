"""What the page shows of single recordings: which ones, what was said and heard, and their sound."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sepasr_cli.errors import SepasrError
from sepasr_cli.files import inside
from sepasr_cli.manifest import DATASET, Mixture
from sepasr_cli.reporting.alignment import Word, align
from sepasr_cli.reporting.clips import encode, full_scale, read_channel, seconds_each
from sepasr_cli.reporting.collect import Scored
from sepasr_cli.reporting.conditions import QUANTITIES, conditions
from sepasr_cli.scoring.words import Normalisation, normalise


@dataclass(frozen=True)
class Item:
    """One recording, and its id's record under each column that has it (by the column's place)."""

    name: str
    mixture: Mixture
    data: Path
    records: Mapping[int, Mapping[str, Any]]


@dataclass(frozen=True)
class Clip:
    """Sound: MP3 in base 64, or why there is none."""

    sound: str = ""
    rate: int = 0
    trouble: str = ""
    cut: bool = False
    full_scale: float = 0.0


@dataclass(frozen=True)
class Words:
    """What one speaker said and what was heard, with a remark."""

    aligned: tuple[Word, ...]
    note: str = ""


@dataclass(frozen=True)
class Card:
    """A signal and the words of it, either of which may be missing."""

    name: str
    note: str = ""
    clip: Clip | None = None
    words: Words | None = None


@dataclass(frozen=True)
class Detail:
    """All that is shown of one recording: what was given, and below it what each column made of it."""

    item: Item
    tag: str
    facts: tuple[tuple[str, str], ...]
    given: tuple[Card, ...]
    made: Mapping[int, tuple[Card, ...]]


def items(columns: Sequence[Scored]) -> list[Item]:
    """Every recording of every column; what two runs call by one id is one recording only where it is the same."""
    found: dict[Any, Item] = {}
    for slot, column in enumerate(columns):
        for name, record in column.recordings.items():
            mixture = column.mixtures.get(name)
            if mixture is None:
                raise SepasrError(
                    f"{column.run.path / 'scores' / column.folder}: recording '{name}' is not in "
                    f"{column.run.manifest(column.folder.split('-')[0])}; run `sepasr score` again"
                )
            key = _identity(mixture)
            if key not in found:
                found[key] = Item(name, mixture, column.run.data, {})
            found[key] = Item(name, mixture, found[key].data, {**found[key].records, slot: record})
    names = [item.name for item in found.values()]
    return [
        item
        if names.count(item.name) == 1
        else Item(f"{item.name} ({columns[min(item.records)].name})", item.mixture, item.data, item.records)
        for item in found.values()
    ]


def _identity(mixture: Mixture) -> tuple[Any, ...]:
    said = tuple((source.speaker, source.text, source.start, source.end) for source in mixture.sources)
    return mixture.id, said, mixture.room, mixture.noise


def choose(every: Sequence[Item], count: int, wanted: Collection[str] = ()) -> list[tuple[Item, str]]:
    """Which recordings to hear: the worst third, the best third, and others between them, worst first.

    The worst is that of the highest WER, then of the least SI-SDR improvement, in the mean over columns. Between them
    the `wanted` come first, by their names; the rest is evenly chosen.
    """
    ranked = sorted(every, key=_quality)
    count = min(count, len(ranked))
    ends = -(-count // 3)
    tags = dict.fromkeys(range(len(ranked) - min(ends, count - min(ends, count)), len(ranked)), "best")
    tags |= dict.fromkeys(range(min(ends, count)), "worst")
    between = [place for place in range(len(ranked)) if place not in tags]
    called = [place for place in between if ranked[place].name in wanted][: count - len(tags)]
    tags |= dict.fromkeys(called, "")
    between, left = [place for place in between if place not in tags], count - len(tags)
    tags |= {between[(2 * number + 1) * len(between) // (2 * left)]: "" for number in range(left)}
    return [(ranked[place], tags[place]) for place in sorted(tags)]


def _quality(item: Item) -> tuple[float, float]:
    """Low is bad."""
    wer = [one["wer"] for one in item.records.values() if one.get("wer") is not None]
    gain = [one["si_sdr_improvement"] for one in item.records.values() if one.get("si_sdr_improvement") is not None]
    return -_mean(wer), _mean(gain)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def detail(item: Item, tag: str, columns: Sequence[Scored], seconds: float) -> Detail:
    """Gather one recording's words and sound; what cannot be read is named in its place.

    Args:
        item: the recording.
        tag: why it was chosen.
        columns: all columns of the report.
        seconds: how long each clip may be.
    """
    mixture, at = item.mixture, item.mixture.reference_microphone
    kind = columns[min(item.records)].summary.get("reference", "early")
    given = [Card("mixture", f"microphone {at + 1}", _clip(item.data, mixture.audio, seconds, at))]
    for source in mixture.sources:
        name = getattr(source, kind, None)
        clip = _clip(item.data, name, seconds, at) if name is not None else None
        words = None if source.text is None else Words(tuple(align(source.text, source.text)))
        given.append(Card(source.speaker, f"{kind} reference" if clip else "no reference signal", clip, words))
    made = {slot: _made(record, mixture, columns[slot], seconds) for slot, record in item.records.items()}
    return Detail(item, tag, _facts(mixture), tuple(given), made)


def seconds_for(chosen: Sequence[tuple[Item, str]], columns: Sequence[Scored]) -> float:
    """How long the clips of the chosen recordings may be for the page to stay small."""
    clips = sum(
        1 + len(item.mixture.sources) + sum(len(_files(item.mixture, columns[slot])) for slot in item.records)
        for item, _ in chosen
    )
    return seconds_each(clips, max((item.mixture.sample_rate for item, _ in chosen), default=16000))


def _files(mixture: Mixture, column: Scored) -> tuple[str, ...]:
    separated = column.separated.get(mixture.id)
    return separated.audio if separated is not None else ()


def _made(record: Mapping[str, Any], mixture: Mixture, column: Scored, seconds: float) -> tuple[Card, ...]:
    """A card for every speaker, with the signal and the words that were scored for that one; then what is left over."""
    folder, files = column.run.path / "separated" / column.folder, _files(mixture, column)
    signals, spoken = list(record.get("signals", ())), list(record.get("transcripts", ()))
    heard = dict(column.heard.get(mixture.id, {}))
    cards = []
    for place, source in enumerate(mixture.sources):
        score = signals[place] if place < len(signals) else None
        clip, note = None, ""
        if score is not None:
            clip, note = _clip(folder, score["estimate"], seconds), _signal_note(score, files)
        words = _words(spoken[place], heard, column.text) if place < len(spoken) else None
        if clip or words:
            cards.append(Card(source.speaker, note, clip, words))
    used = {score["estimate"] for score in signals}
    cards += [
        Card(f"output {number}", "of no speaker", _clip(folder, name, seconds))
        for number, name in enumerate(files, 1)
        if name not in used
    ]
    for label, text in heard.items() if spoken else ():
        if extra := tuple(align("", normalise(text, column.text))):
            cards.append(Card(label, "of no speaker", None, Words(extra)))
    return tuple(cards)


def _signal_note(score: Mapping[str, Any], files: Sequence[str]) -> str:
    known = (("si_sdr", "SI-SDR"), ("sir", "SIR"), ("sar", "SAR"))
    values = [f"{label} {score[key]:.1f} dB" for key, label in known if score.get(key) is not None]
    output = [f"output {files.index(score['estimate']) + 1}"] if score["estimate"] in files else []
    return ", ".join(output + values)


def _words(pair: Mapping[str, Any], heard: dict[str, str], rule: Normalisation) -> Words:
    """One speaker's words aligned; the output that they were read from is taken out of `heard`."""
    aligned = tuple(align(normalise(pair["reference"], rule), normalise(pair["hypothesis"] or "", rule)))
    label = next((label for label, text in heard.items() if text == pair["hypothesis"]), None)
    heard.pop(label or "", None)
    source = "no output was left" if pair["hypothesis"] is None else f"heard as {label}" if label else ""
    wrong, said = sum(word.kind != "hit" for word in aligned), sum(bool(word.said) for word in aligned)
    errors = f"{wrong} {'error' if wrong == 1 else 'errors'} in {said} {'word' if said == 1 else 'words'}"
    return Words(aligned, ", ".join(filter(None, (source, errors))))


def _clip(folder: Path, file: str, seconds: float, channel: int = 0) -> Clip:
    try:
        samples, rate, cut = read_channel(inside(folder, file, link=DATASET), channel, seconds)
    except SepasrError as error:
        return Clip(trouble=str(error))
    return Clip(encode(samples, rate), rate, cut=cut, full_scale=full_scale(samples))


def _facts(mixture: Mixture) -> tuple[tuple[str, str], ...]:
    known = conditions(mixture)
    facts = [("length", f"{mixture.duration:.1f} s")]
    facts += [
        (f"{number}. {source.speaker}", f"{source.start:.1f} to {source.end:.1f} s")
        for number, source in enumerate(mixture.sources, 1)
    ]
    for key, quantity in QUANTITIES.items():
        if key == "t60" and mixture.room is not None and mixture.room.t60 is None:
            facts.append((quantity.label, "anechoic"))
        elif key in known and key != "speakers":
            facts.append((quantity.label, quantity.shown(known[key])))
    if mixture.room is not None:
        facts.append(("room", " x ".join(f"{side:.1f}" for side in mixture.room.size) + " m"))
    if mixture.noise is not None:
        facts.append(("noise", mixture.noise.kind))
    return tuple(facts)
