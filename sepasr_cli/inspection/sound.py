"""Facts of audio files, manifests and transcripts. Levels are in decibels of full scale, times in seconds."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import soundfile

from sepasr_cli import audio, transcripts
from sepasr_cli.errors import SepasrError
from sepasr_cli.manifest import BankRoom, Mixture, Separated, read_manifest
from sepasr_cli.reporting.conditions import conditions, overlap
from sepasr_cli.settings import Settings
from sepasr_cli.transcripts import Segment

Facts = dict[str, Any]

#: Samples of a file in memory at once.
BLOCK = 1 << 20
#: Samples as loud as this count as clipped.
FULL_SCALE = 0.9999


def describe_audio(path: Path) -> Facts:
    """Format, length and, channel by channel, levels; files of any length are read in blocks.

    Raises:
        SepasrError: where it cannot be read.
    """
    header = audio.info(path)
    sort = soundfile.info(str(path))
    facts: Facts = {
        "kind": "audio",
        "format": f"{sort.format} {sort.subtype}",
        "sample_rate": header.sample_rate,
        "channels": header.channels,
        "duration": round(header.duration, 3),
    }
    peak, energy = np.zeros(header.channels), np.zeros(header.channels)
    clipped, count = np.zeros(header.channels, int), 0
    try:
        for block in soundfile.blocks(str(path), BLOCK // header.channels, dtype="float32", always_2d=True):
            if not np.isfinite(block).all():
                raise SepasrError(f"{path}: holds NaN or infinite samples; write the file again from its source")
            peak = np.maximum(peak, np.abs(block).max(axis=0, initial=0.0))
            energy += np.square(block, dtype=np.float64).sum(0)
            clipped += (np.abs(block) >= FULL_SCALE).sum(0)
            count += len(block)
    except (soundfile.LibsndfileError, RuntimeError):
        raise SepasrError(f"{path}: the audio is damaged or truncated; copy the file again") from None
    if count < header.frames:
        raise SepasrError(f"{path}: truncated, {count} samples found where {header.frames} were announced")
    facts["by_channel"] = [
        {
            "channel": number,
            "peak_dbfs": _decibels(float(peak[number - 1]) ** 2),
            "level_dbfs": _decibels(float(energy[number - 1]) / max(count, 1)),
            "clipped_samples": int(clipped[number - 1]),
        }
        for number in range(1, header.channels + 1)
    ]
    return facts


def describe_folder(path: Path) -> Facts:
    """The audio below a folder, by its headers; files that cannot be read are named.

    Raises:
        SepasrError: where there is none.
    """
    files = audio.find(path)
    if not files:
        raise SepasrError(
            f"{path}: neither a run directory nor a saved model, and holds no audio; expected files ending in "
            f"{', '.join(audio.SUFFIXES)}"
        )
    headers, broken = [], []
    for file in files:
        try:
            headers.append(audio.info(file))
        except SepasrError as error:
            broken.append(str(error))
    return {
        "kind": "folder of audio",
        "files": len(files),
        "hours": _hours(header.duration for header in headers),
        "sample_rates": _counted(header.sample_rate for header in headers),
        "channels": _counted(header.channels for header in headers),
        "longest": round(max((header.duration for header in headers), default=0.0), 3),
        "broken": broken,
    }


def describe_manifest(path: Path) -> Facts:
    """What a manifest lists, and how much of its audio is there.

    Raises:
        SepasrError: where it is none, or a line is broken.
    """
    first = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    kinds: list[tuple[str, type[Settings]]] = [
        ('"sources"', Mixture),
        ('"responses"', BankRoom),
        ('"audio"', Separated),
    ]
    kind = next((kind for key, kind in kinds if key in first), None)
    if kind is None:
        raise SepasrError(f"{path}: no manifest of mixtures, rooms or separated signals; expected JSON Lines of one")
    records = read_manifest(path, kind)
    mixtures = [record for record in records if isinstance(record, Mixture)]
    if mixtures:
        return {"kind": "manifest of mixtures", **_describe_mixtures(mixtures, path.parent)}
    if kind is BankRoom:
        return {"kind": "manifest of rooms", "rooms": len(records)}
    signals = [len(record.audio) for record in records if isinstance(record, Separated)]
    return {"kind": "manifest of separated signals", "recordings": len(signals), "signals": _counted(signals)}


def _describe_mixtures(mixtures: Sequence[Mixture], folder: Path) -> Facts:
    sources = [source for mixture in mixtures for source in mixture.sources]
    there = [folder / mixture.audio for mixture in mixtures if (folder / mixture.audio).is_file()]
    ranges: dict[str, list[float]] = {}
    for mixture in mixtures:
        for name, value in conditions(mixture).items():
            ranges.setdefault(name, []).append(value)
    speakers = {source.speaker for source in sources}
    return {
        "mixtures": len(mixtures),
        "hours": _hours(mixture.duration for mixture in mixtures),
        "speaker_hours": _hours(source.end - source.start for source in sources),
        "speakers": len(speakers),
        "words": sum(len((source.text or "").split()) for source in sources),
        "without_text": sum(source.text is None for source in sources),
        "sample_rates": _counted(mixture.sample_rate for mixture in mixtures),
        "channels": audio.info(there[0]).channels if there else None,
        "missing_audio": len(mixtures) - len(there),
        "conditions": [
            {"of": name, "least": round(min(values), 3), "mean": round(fmean(values), 3), "most": round(max(values), 3)}
            for name, values in ranges.items()
        ],
    }


def describe_transcript(path: Path) -> Facts:
    """How much who says, and how much of it at once; the overlap is the mean over recordings.

    Raises:
        SepasrError: where it cannot be read.
    """
    kind = transcripts.format_of(path)
    segments = transcripts.read(path)
    sessions: dict[str, dict[str, list[Segment]]] = {}
    for segment in segments:
        sessions.setdefault(segment.session_id, {}).setdefault(segment.speaker, []).append(segment)
    shares = [overlap([span for own in speakers.values() for span in _spans(own)]) for speakers in sessions.values()]
    names: dict[str, list[Segment]] = {}
    for segment in segments:
        names.setdefault(segment.speaker, []).append(segment)
    sure = [value for segment in segments for value in segment.word_confidences or ()]
    return {
        "kind": f"transcript ({transcripts.FORMATS[kind].title})",
        "recordings": len(sessions),
        "segments": len(segments),
        "words": sum(len(segment.words.split()) for segment in segments),
        "segments_with_word_times": sum(segment.word_times is not None for segment in segments),
        "mean_confidence": round(fmean(sure), 3) if sure else None,
        "until": max((segment.end_time for segment in segments), default=0.0),
        "overlap": round(fmean(shares), 3) if shares else 0.0,
        "by_speaker": [
            {
                "speaker": name,
                "recordings": len({segment.session_id for segment in own}),
                "segments": len(own),
                "words": sum(len(segment.words.split()) for segment in own),
                "seconds": round(sum(segment.end_time - segment.start_time for segment in own), 3),
            }
            for name, own in names.items()
        ],
    }


def _spans(segments: Iterable[Segment]) -> list[tuple[float, float]]:
    """When one speaker speaks, without counting twice what two segments share."""
    spans: list[tuple[float, float]] = []
    for start, end in sorted((segment.start_time, segment.end_time) for segment in segments):
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], end))
        else:
            spans.append((start, end))
    return spans


def _decibels(power: float) -> float | None:
    return round(10 * float(np.log10(power)), 1) if power > 0 else None


def _hours(durations: Iterable[float]) -> float:
    return round(sum(durations) / 3600, 4)


def _counted(values: Iterable[int]) -> dict[str, int]:
    """How often each value is there."""
    return {str(value): count for value, count in sorted(Counter(values).items())}
