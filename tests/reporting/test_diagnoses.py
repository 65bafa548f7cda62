"""Each diagnosis is found where its signature is, and is not found where it is not."""

from collections.abc import Sequence
from typing import Any

import pytest

from sepasr_cli.manifest import BankRoom, Mixture, Noise, Room, Source
from sepasr_cli.reporting import diagnoses
from sepasr_cli.reporting.diagnoses import Diagnosis


def record(
    number: int, si_sdr: float = 15.0, errors: int = 0, pairs: Sequence[tuple[str, str | None]] = ()
) -> dict[str, Any]:
    """A line of recordings.jsonl with ten words and fifty characters."""
    return {
        "id": f"r{number}",
        "si_sdr": si_sdr,
        "wer": errors / 10,
        "words": {"errors": errors, "length": 10},
        "characters": {"errors": 3 * errors, "length": 50},
        "transcripts": [
            {"speaker": f"s{place}", "reference": said, "hypothesis": heard}
            for place, (said, heard) in enumerate(pairs)
        ],
    }


def test_mismatch() -> None:
    wrong, right = [record(n, errors=5) for n in range(6)], [record(n, errors=1) for n in range(6)]
    found = diagnoses.mismatch(wrong, clean_accuracy=0.95)
    assert found.found and found.evidence[0].startswith("WER 50.0%, CER 30.0% in the 6 recordings")
    assert found.recordings == ("r0", "r1", "r2") and "5.0% of tokens" in found.evidence[1]
    assert diagnoses.mismatch(wrong, None).found
    assert diagnoses.mismatch(right, 0.95).found is False


def test_a_recogniser_that_is_bad_on_clean_speech_is_no_mismatch() -> None:
    assert diagnoses.mismatch([record(n, errors=5) for n in range(6)], clean_accuracy=0.7).found is False


def test_mismatch_is_told_from_well_separated_recordings_alone() -> None:
    badly = [record(n, si_sdr=1.0, errors=9) for n in range(20)]
    assert diagnoses.mismatch(badly, 0.95).found is None
    assert diagnoses.mismatch([*badly, *(record(n, errors=0) for n in range(5))], 0.95).found is False
    words_alone = [{"id": "a", "wer": 1.0, "words": {"errors": 1, "length": 1}}] * 9
    assert diagnoses.mismatch(words_alone, None).found is None


@pytest.mark.parametrize(
    ("sir", "sar", "found"),
    [((10, 14), (9, 7), True), ((10, 14), (9, 9), False), ((10, 9), (9, 7), False), ((10, 10.2), (9, 8), False)],
)
def test_artefacts(sir: tuple[float, float], sar: tuple[float, float], found: bool) -> None:
    before, after = ({"sir": one, "sar": two} for one, two in zip(sir, sar, strict=True))
    told = diagnoses.artefacts(before, after, ("cascade", "joint"))
    assert told.found is found
    assert f"SIR {sir[0]:.1f} -> {sir[1]:.1f} dB" in told.evidence[0]


def test_artefacts_need_both_figures() -> None:
    assert diagnoses.artefacts({"sir": 1.0}, {"sir": 2.0, "sar": 1.0}, ("a", "b")).found is None
    assert diagnoses.artefacts({"sir": None, "sar": 1.0}, {"sir": 2.0, "sar": 1.0}, ("a", "b")).found is None


@pytest.mark.parametrize(("before", "after", "found"), [(0.95, 0.9, True), (0.95, 0.94, False), (0.9, 0.95, False)])
def test_clean_speech(before: float, after: float, found: bool) -> None:
    assert diagnoses.clean_speech(before, after).found is found


def test_clean_speech_needs_both() -> None:
    assert diagnoses.clean_speech(None, 0.9).found is None
    assert diagnoses.clean_speech(0.9, None).found is None


#: Two recordings' words, nothing in common.
FIRST, SECOND = ("RED APPLES TASTE SWEET", "TURN LEFT NOW PLEASE"), ("MY NAME IS ROSE", "FIVE BLUE BIRDS SING")


def recordings(*heard: tuple[str | None, str | None]) -> list[dict[str, Any]]:
    return [
        record(n, pairs=list(zip(said, got, strict=True)))
        for n, (said, got) in enumerate(zip((FIRST, SECOND), heard, strict=True))
    ]


def test_crossed_words() -> None:
    swapped = recordings(("RED APPLES NOW PLEASE", "TURN LEFT TASTE SWEET"), SECOND)
    found = diagnoses.crossed_words(swapped, "basic")
    assert found.found and found.evidence[0].startswith("4 of 4 missed words")
    assert found.recordings == ("r0",)


@pytest.mark.parametrize(
    "heard",
    [
        (FIRST, SECOND),
        (("RED ANTS TOAST WHEAT", "TURN LEFT NOW PLEASE"), ("MY NAME", "FIVE BIRDS SING")),
        # Heard twice: leaked, not moved.
        (("RED APPLES TASTE SWEET NOW PLEASE LEFT", "TURN LEFT NOW PLEASE"), SECOND),
        # Two words are too few to tell.
        (("RED APPLES TASTE PLEASE", "TURN LEFT NOW SWEET"), SECOND),
    ],
)
def test_words_that_did_not_cross(heard: Any) -> None:
    assert diagnoses.crossed_words(recordings(*heard), "basic").found is False


def test_a_small_vocabulary_crosses_by_chance() -> None:
    """All recordings have the same missed and the same wrong words, so that those of another fit as well."""
    alike = [record(n, pairs=[("ONE TWO SIX", "FOUR FIVE SIX"), ("FOUR FIVE SIX", "ONE TWO SIX")]) for n in range(4)]
    told = diagnoses.crossed_words(alike, "basic")
    assert told.found is False and "by chance, against another recording, 100.0%" in told.evidence[0]


def test_leaked_words() -> None:
    leaked = recordings(("RED APPLES TASTE SWEET LEFT NOW PLEASE", FIRST[1]), SECOND)
    found = diagnoses.leaked_words(leaked, "basic")
    assert found.found and found.evidence[0].startswith("3 of 3 inserted words")
    assert found.recordings == ("r0",)


@pytest.mark.parametrize(
    "heard",
    [
        (FIRST, SECOND),
        (("RED APPLES TASTE SWEET AND ROUND TOO", FIRST[1]), SECOND),
        # Said by somebody of another recording.
        (("RED APPLES TASTE SWEET BLUE BIRDS SING", FIRST[1]), SECOND),
        (("RED APPLES NOW PLEASE", "TURN LEFT TASTE SWEET"), SECOND),
        ((None, FIRST[1]), SECOND),
    ],
)
def test_insertions_that_did_not_leak(heard: Any) -> None:
    assert diagnoses.leaked_words(recordings(*heard), "basic").found is False


@pytest.mark.parametrize("look", [diagnoses.crossed_words, diagnoses.leaked_words])
def test_words_of_single_speakers_cannot_cross(look: Any) -> None:
    assert look([record(1, pairs=[("A", "B")])] * 3, "none").found is None
    assert look([record(1)] * 3, "none").found is None


def test_clipped() -> None:
    told = diagnoses.clipped({"a mixture": 0.0, "b mixture": 0.02})
    assert (
        told.found and told.evidence[0] == "1 of 2 signals clipped; at most 2.00% of samples at full scale (b mixture)"
    )
    assert diagnoses.clipped({"a mixture": 0.0, "b mixture": 0.00001}).found is False
    assert diagnoses.clipped({}).found is None


def mixture(number: int, t60: float = 0.3, snr: float = 20.0, start: float = 0.0) -> Mixture:
    return Mixture(
        id=f"r{number}",
        audio="a.wav",
        sample_rate=8000,
        duration=3,
        sources=(Source(speaker="a", end=2), Source(speaker="b", start=start, end=start + 2)),
        room=Room(size=(5, 4, 3), t60=t60, microphones=((1, 1, 1),), sources=((2, 2, 1), (3, 1, 1))),
        noise=Noise(kind="white", snr_db=snr),
    )


TRAIN = [mixture(n, t60=0.2 + 0.02 * n, snr=10 + n, start=0.1 * n) for n in range(11)]


def unseen(scored: Sequence[Mixture], rooms: Sequence[BankRoom] = (), train: Sequence[Mixture] = TRAIN) -> Diagnosis:
    return diagnoses.unseen_conditions(scored, train, rooms, [record(n, errors=8 if n > 3 else 1) for n in range(6)])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"t60": 0.8}, "T60: 0.30 s to 0.80 s here, 0.20 s to 0.40 s in training; 2 of 6 outside"),
        ({"snr": 0}, "SNR: "),
        ({"start": 2}, "overlap: 0% to "),
    ],
)
def test_unseen_conditions(changed: dict[str, float], words: str) -> None:
    told = unseen([mixture(n, **(changed if n > 3 else {"start": 0.5})) for n in range(6)])
    assert told.found and len(told.evidence) == 1 and told.evidence[0].startswith(words)
    assert told.evidence[0].endswith("; WER 80.0% there, 10.0% elsewhere")
    assert told.recordings == ("r4", "r5")


def test_seen_conditions() -> None:
    assert unseen([mixture(n, t60=0.25, snr=18, start=0.4) for n in range(6)]).found is False


def test_one_in_a_hundred_outside_is_none() -> None:
    assert unseen([mixture(n, t60=0.9 if n == 0 else 0.3) for n in range(100)]).found is False


def test_the_rooms_of_the_bank_were_seen_too() -> None:
    rooms = [
        BankRoom(id=f"b{n}", responses="b.npz", sample_rate=8000, room=mixture(0, t60=0.2 + 0.1 * n).room)
        for n in range(8)
    ]
    scored = [mixture(n, t60=0.8) for n in range(6)]
    assert unseen(scored).found
    assert unseen(scored, rooms).found is False
    assert unseen(scored, rooms, train=()).found is False


def test_nothing_to_compare_with() -> None:
    assert unseen([mixture(0)], train=()).found is None
