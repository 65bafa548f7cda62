"""What a run's numbers say about its system: each diagnosis looks for one signature of failure and shows its evidence.

Every function is pure and takes plain records (lines of recordings.jsonl, manifest lines, metrics), so that it can be
asked about anything. Its answer is always the same kind of thing: found, not found, or not to be told from what is
there, with the numbers that decided. The thresholds are the constants below.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from sepasr_cli.manifest import BankRoom, Mixture
from sepasr_cli.reporting.alignment import Kind, Word, align
from sepasr_cli.reporting.conditions import QUANTITIES, conditions
from sepasr_cli.scoring.words import Normalisation, normalise

Record = Mapping[str, Any]

#: SI-SDR in dB from which a recording counts as well separated.
WELL_SEPARATED = 8.0
#: Recordings of a kind that it takes to say anything of them.
ENOUGH = 5
#: WER of well separated recordings from which it is high.
HIGH_WER = 0.2
#: So many times the recogniser's own token error rate on clean speech is more than clean speech explains.
TIMES_CLEAN = 2.0
#: Change of SIR and of SAR, in dB, that counts.
DECIBELS = 0.5
#: Loss of token accuracy that counts.
ACCURACY_LOSS = 0.02
#: Words that must be concerned, their share of the words of their kind, and how many times chance that must be.
WORDS, SHARE, TIMES_CHANCE = 3, 0.1, 2.0
#: Share of a signal's samples at full scale from which it counts as clipped.
CLIPPED_SAMPLES = 1e-4
#: Share of recordings outside what training saw, and by how much of the range that it saw.
OUTSIDE, MARGIN = 0.05, 0.25


@dataclass(frozen=True)
class Diagnosis:
    """One signature: whether it was found (None: cannot be told), why, and in which recordings."""

    name: str
    found: bool | None
    evidence: tuple[str, ...]
    advice: str = ""
    recordings: tuple[str, ...] = field(default=())


def mismatch(records: Iterable[Record], clean_accuracy: float | None) -> Diagnosis:
    """Words are wrong though the signals are well separated: front end and recogniser do not fit.

    Args:
        records: scored recordings.
        clean_accuracy: the recogniser's share of right tokens on clean dev speech, where it is known.
    """
    name = "Words wrong though well separated"
    good = [one for one in records if (one.get("si_sdr") or -1e9) >= WELL_SEPARATED and one.get("words")]
    if len(good) < ENOUGH:
        return Diagnosis(
            name, None, (f"{len(good)} recordings reach {WELL_SEPARATED:g} dB SI-SDR; {ENOUGH} are needed to tell",)
        )
    wer, cer = _rate(good, "words"), _rate(good, "characters")
    evidence = [f"WER {_percent(wer)}, CER {_percent(cer)} in the {len(good)} recordings of {WELL_SEPARATED:g} dB up"]
    unexplained = True
    if clean_accuracy is not None:
        unexplained = cer >= TIMES_CLEAN * (1 - clean_accuracy)
        evidence.append(f"{_percent(1 - clean_accuracy)} of tokens wrong on clean dev speech (greedy)")
    worst = sorted(good, key=lambda one: -(one.get("wer") or 0.0))[:3]
    return Diagnosis(
        name,
        wer >= HIGH_WER and unexplained,
        tuple(evidence),
        "The recogniser does not know the separator's output: fine-tune both together (`joint-finetune`), or train it "
        "on separated speech.",
        tuple(one["id"] for one in worst),
    )


def artefacts(before: Record, after: Record, names: tuple[str, str]) -> Diagnosis:
    """Fine-tuning took interference away and put artefacts in: SIR up, SAR down.

    Args:
        before: summary of the cascade.
        after: summary of the joint model of the same run.
        names: what the two are called.
    """
    name = "Artefacts risen after fine-tuning"
    known = [summary.get(key) for key in ("sir", "sar") for summary in (before, after)]
    values = [float(value) for value in known if value is not None]
    if len(values) < len(known):
        return Diagnosis(name, None, ("no SIR and SAR of both systems; score both",))
    sir, sar = values[1] - values[0], values[3] - values[2]
    return Diagnosis(
        name,
        sir >= DECIBELS and sar <= -DECIBELS,
        (
            f"SIR {values[0]:.1f} -> {values[1]:.1f} dB ({sir:+.1f}), SAR {values[2]:.1f} -> {values[3]:.1f} dB "
            f"({sar:+.1f}), {names[0]} -> {names[1]}",
        ),
        "Good for the words perhaps, not for the ear: raise joint_finetune.separation_weight where people listen.",
    )


def clean_speech(before: float | None, after: float | None) -> Diagnosis:
    """The fine-tuned recogniser hears clean speech worse than it did before.

    Args:
        before: share of right tokens on the references of the dev mixtures, at the start of fine-tuning.
        after: the same of the weights that were kept.
    """
    name = "Clean speech worse than before"
    if before is None or after is None:
        return Diagnosis(name, None, ("no clean_accuracy before and after in joint/metrics.jsonl",))
    return Diagnosis(
        name,
        after <= before - ACCURACY_LOSS,
        (f"{_percent(before)} -> {_percent(after)} of tokens right on the clean references of dev",),
        "The recogniser has moved towards separated speech alone: train fewer steps, a smaller rate, or "
        "joint_finetune.train=separator.",
    )


def crossed_words(records: Sequence[Record], text: Normalisation) -> Diagnosis:
    """One speaker's words stand under the other's name: heard wrongly there, missed here.

    The share of missed words that turn up among another speaker's wrong words is compared with that in another
    recording, which is what a small vocabulary gives by chance.

    Args:
        records: scored recordings.
        text: the normalisation of texts.
    """
    speakers = _speakers(records, text)
    misses = [[_missed(words) for words in one] for one in speakers]
    wrongs = [[_heard(words, "insertion", "substitution") for words in one] for one in speakers]

    def crossed(here: int, there: int) -> int:
        return sum(_shared(missed, _others(wrongs[there], index)) for index, missed in enumerate(misses[here]))

    total = sum(sum(missed.values()) for one in misses for missed in one)
    return _beside_chance(
        "One speaker's words under the other's name",
        records,
        total,
        crossed,
        "missed words stand under another speaker's name",
        "Streams swap within a recording, or the separator follows the wrong talker: look at long recordings' windows "
        "and at talkers whose voices are alike.",
    )


def leaked_words(records: Sequence[Record], text: Normalisation) -> Diagnosis:
    """Words of one speaker are heard a second time in the other's stream, where they are insertions.

    Compared with another recording as in `crossed_words`.

    Args:
        records: scored recordings.
        text: the normalisation of texts.
    """
    speakers = _speakers(records, text)
    inserted = [[_heard(words, "insertion") for words in one] for one in speakers]
    right = [[_heard(words, "hit") for words in one] for one in speakers]

    def leaked(here: int, there: int) -> int:
        return sum(_shared(added, _others(right[there], index)) for index, added in enumerate(inserted[here]))

    total = sum(sum(added.values()) for one in inserted for added in one)
    return _beside_chance(
        "Leakage recognised as insertions",
        records,
        total,
        leaked,
        "inserted words were said by another speaker, under whose name they stand too",
        "Interference is loud enough to be recognised: train the separator longer, with more overlap and lower levels.",
    )


def clipped(shares: Mapping[str, float]) -> Diagnosis:
    """Signals are cut off at full scale.

    Args:
        shares: for each signal that was looked at, by its name, the share of its samples that are at full scale.
    """
    name = "Levels clipped"
    if not shares:
        return Diagnosis(name, None, ("no audio was read",))
    worst = sorted(shares.items(), key=lambda item: -item[1])
    loud = [signal for signal, share in worst if share >= CLIPPED_SAMPLES]
    top = f"at most {worst[0][1]:.2%} of samples at full scale ({worst[0][0]})"
    return Diagnosis(
        name,
        bool(loud),
        (f"{len(loud)} of {len(shares)} signals clipped; {top}",),
        "Record or mix at a lower level (simulation.level_dbfs); what is cut off cannot be separated.",
    )


def unseen_conditions(
    scored: Sequence[Mixture], train: Sequence[Mixture], rooms: Sequence[BankRoom], records: Sequence[Record]
) -> Diagnosis:
    """Rooms, overlaps or noise of the test lie outside what training saw.

    Args:
        scored: mixtures of the scored split.
        train: mixtures of the train split.
        rooms: the bank of responses for mixing while training; their T60 was seen too.
        records: the scores, for what it costs.
    """
    name = "Conditions that training never saw"
    seen = [conditions(mixture) for mixture in train]
    rooms_seen = [room.room.t60 or 0.0 for room in rooms]
    evidence, outside = [], set()
    for key, quantity in QUANTITIES.items():
        known = [one[key] for one in seen if key in one] + (rooms_seen if key == "t60" else [])
        here = {mixture.id: found[key] for mixture in scored if key in (found := conditions(mixture))}
        if len(known) < ENOUGH or not here:
            continue
        low, high = min(known), max(known)
        slack = MARGIN * (high - low)
        out = {one for one, value in here.items() if not low - slack <= value <= high + slack}
        if len(out) >= max(1, OUTSIDE * len(here)):
            outside |= out
            evidence.append(
                f"{quantity.label}: {quantity.shown(min(here.values()))} to {quantity.shown(max(here.values()))} here, "
                f"{quantity.shown(low)} to {quantity.shown(high)} in training; {len(out)} of {len(here)} outside"
                + _cost(records, out)
            )
    if not seen and not rooms_seen:
        return Diagnosis(name, None, ("the run has no training mixtures to compare with",))
    if not evidence:
        evidence = ["overlap, T60, SNR, distance, levels and number of speakers lie within what training saw"]
    return Diagnosis(
        name,
        bool(outside),
        tuple(evidence),
        "Widen the recipe's simulation to what the system is to meet, or read these scores as those of another domain.",
        tuple(mixture.id for mixture in scored if mixture.id in outside)[:3],
    )


def _rate(records: Iterable[Record], key: Literal["words", "characters"]) -> float:
    counts = [one[key] for one in records]
    return sum(one["errors"] for one in counts) / max(sum(one["length"] for one in counts), 1)


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _speakers(records: Sequence[Record], text: Normalisation) -> list[list[list[Word]]]:
    """The aligned words of every speaker of every recording."""
    return [
        [
            align(normalise(pair["reference"], text), normalise(pair["hypothesis"] or "", text))
            for pair in record.get("transcripts", ())
        ]
        for record in records
    ]


def _missed(words: Iterable[Word]) -> Counter[str]:
    return Counter(word.said for word in words if word.kind in ("deletion", "substitution"))


def _heard(words: Iterable[Word], *kinds: Kind) -> Counter[str]:
    return Counter(word.heard for word in words if word.kind in kinds)


def _others(counts: Sequence[Counter[str]], but: int) -> Counter[str]:
    """The words of all speakers but one."""
    return sum((count for index, count in enumerate(counts) if index != but), Counter())


def _shared(some: Counter[str], pool: Counter[str]) -> int:
    return sum((some & pool).values())


def _beside_chance(
    name: str, records: Sequence[Record], total: int, count: Callable[[int, int], int], what: str, advice: str
) -> Diagnosis:
    """Judge how many words cross between speakers of one recording, against how many cross between two recordings.

    `count` tells it of two recordings by their places; `total` is how many could.
    """
    many = [index for index, record in enumerate(records) if len(record.get("transcripts", ())) > 1]
    if len(many) < 2:
        return Diagnosis(name, None, ("no two recordings with transcripts of two speakers or more",))
    here = {index: count(index, index) for index in many}
    crossed = sum(here.values())
    chance = sum(count(one, other) for one, other in pairwise([*many, many[0]]))
    share, by_chance = crossed / max(total, 1), chance / max(total, 1)
    worst = sorted((index for index in many if here[index]), key=lambda index: -here[index])[:3]
    return Diagnosis(
        name,
        crossed >= WORDS and share >= SHARE and crossed >= TIMES_CHANCE * chance,
        (
            f"{crossed} of {total} {what}: {_percent(share)}; "
            f"by chance, against another recording, {_percent(by_chance)}",
        ),
        advice,
        tuple(records[index]["id"] for index in worst),
    )


def _cost(records: Iterable[Record], outside: set[str]) -> str:
    """What is said of the words outside and of all others; nothing where one of them has none."""
    scored = [one for one in records if one.get("words")]
    there = [one for one in scored if one["id"] in outside]
    others = [one for one in scored if one["id"] not in outside]
    if not there or not others:
        return ""
    return f"; WER {_percent(_rate(there, 'words'))} there, {_percent(_rate(others, 'words'))} elsewhere"
