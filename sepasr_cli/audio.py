"""Audio files in and out. Letters: M microphone, N sample. Audio is float32 in [-1, 1], shape (M, N)."""

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from sepasr_cli.errors import SepasrError
from sepasr_cli.files import atomic

Audio = NDArray[np.float32]

#: Samples of each channel read at once.
BLOCK = 1 << 17

#: Endings of the files looked for in a folder; a file named outright may have any ending that soundfile reads.
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".sph", ".aiff", ".aif", ".au", ".caf", ".w64", ".rf64")


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says."""

    sample_rate: int
    channels: int
    frames: int

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


def info(path: Path) -> AudioInfo:
    """Read a file's header.

    Raises:
        SepasrError: where the file is missing, empty, cut short or no audio.
    """
    if not path.is_file():
        raise SepasrError(f"{path}: no such file; check the path")
    if path.stat().st_size == 0:
        raise SepasrError(f"{path}: the file is empty; expected audio")
    try:
        header = soundfile.info(str(path))
    except (soundfile.LibsndfileError, OSError, RuntimeError):
        raise SepasrError(
            f"{path}: not an audio file that can be read; expected WAV, FLAC, OGG, MP3 or NIST SPHERE"
        ) from None
    _check_whole(path)
    return AudioInfo(header.samplerate, header.channels, header.frames)


def _check_whole(path: Path) -> None:
    """Compare the size that a RIFF header announces with the file's; libsndfile makes do with what is left."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
    announced = int.from_bytes(head[4:], "little")
    # Writers that cannot go back leave the largest size there is; some count the eight bytes before the size too.
    if head[:4] == b"RIFF" and size < announced < 0xFFFFFF00:
        raise SepasrError(f"{path}: truncated, {size} bytes found where {announced + 8} were announced; copy it again")


def read(path: Path, start: float = 0.0, end: float | None = None) -> tuple[Audio, int]:
    """Read a file, or the part of it between two times in seconds.

    Returns:
        The audio, shape (M, N), and its sample rate in Hz.

    Raises:
        SepasrError: where the file is missing, no audio, truncated, empty, or holds NaN or infinite samples.
    """
    header = info(path)
    rate = header.sample_rate
    first = round(start * rate)
    last = header.frames if end is None else round(end * rate)
    if not 0 <= first <= last <= header.frames:
        raise SepasrError(
            f"{path}: {start:g}-{last / rate:g} s asked for, the file has {header.duration:g} s; check the times"
        )
    try:
        samples, _ = soundfile.read(str(path), start=first, stop=last, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError):
        raise SepasrError(f"{path}: the audio is damaged or truncated; copy the file again") from None
    if len(samples) < last - first:
        raise SepasrError(
            f"{path}: truncated, {len(samples)} samples found where {last - first} were announced; copy the file again"
        )
    if samples.size == 0:
        raise SepasrError(f"{path}: holds no samples; expected audio")
    if not np.isfinite(samples).all():
        raise SepasrError(f"{path}: holds NaN or infinite samples; write the file again from its source")
    return np.ascontiguousarray(samples.T), rate


def channel(audio: Audio, microphone: int) -> Audio:
    """What a microphone heard, (N,), of audio (M, N); audio of a single channel is that one's."""
    return audio[microphone] if len(audio) > 1 else audio[0]


def blocks(path: Path, size: int = BLOCK) -> Iterator[Audio]:
    """Read a file of any length from its start to its end, `size` samples of each channel at once.

    Yields:
        Audio of shape (M, n), n at most `size`.

    Raises:
        SepasrError: as `read` does, as soon as the fault is reached.
    """
    header, found = info(path), 0
    try:
        with soundfile.SoundFile(str(path)) as file:
            while len(samples := file.read(size, dtype="float32", always_2d=True)):
                found += len(samples)
                if not np.isfinite(samples).all():
                    raise SepasrError(f"{path}: holds NaN or infinite samples; write the file again from its source")
                yield np.ascontiguousarray(samples.T)
    except (soundfile.LibsndfileError, RuntimeError):
        raise SepasrError(f"{path}: the audio is damaged or truncated; copy the file again") from None
    if found < header.frames:
        raise SepasrError(
            f"{path}: truncated, {found} samples found where {header.frames} were announced; copy the file again"
        )
    if found == 0:
        raise SepasrError(f"{path}: holds no samples; expected audio")


def write(path: Path, audio: NDArray[np.floating], sample_rate: int, subtype: str | None = None) -> None:
    """Write audio of shape (M, N) or (N,), whole or not at all; the format is told by the ending.

    FLAC and WAV hold 16 bits unless `subtype` (soundfile's name, such as FLOAT or PCM_24) says otherwise.

    Raises:
        SepasrError: where samples pass full scale in an integer format, or are not finite.
    """
    write_blocks(path, [np.atleast_2d(np.asarray(audio))], sample_rate, subtype)


def write_blocks(
    path: Path, pieces: Iterable[NDArray[np.floating]], sample_rate: int, subtype: str | None = None
) -> None:
    """As `write`, from pieces (M, n) that follow each other; there must be one."""
    subtype = subtype or ("PCM_16" if path.suffix.lower() in (".wav", ".flac") else None)
    with atomic(path) as temporary, writing(path), contextlib.ExitStack() as opened:
        file: soundfile.SoundFile | None = None
        for piece in pieces:
            if not np.isfinite(piece).all():
                raise SepasrError(f"{path}: refused to write NaN or infinite samples")
            peak = float(np.abs(piece).max(initial=0.0))
            if subtype not in ("FLOAT", "DOUBLE") and peak > 1.0:
                raise SepasrError(
                    f"{path}: a peak of {peak:.3f} would clip; scale the audio to at most 1 before writing"
                )
            if file is None:
                file = opened.enter_context(
                    soundfile.SoundFile(str(temporary), "w", sample_rate, len(piece), subtype=subtype)
                )
            file.write(piece.T)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within it, what soundfile says when it cannot write becomes one line about `path`.

    Raises:
        SepasrError: where it does.
    """
    try:
        yield
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        # libsndfile does not tell a full disk from other troubles.
        free = shutil.disk_usage(path.parent).free
        if free < 4 * BLOCK:
            raise SepasrError(
                f"{path}: the disk is full ({free // 1024} kB left); free some space and run the command again"
            ) from None
        raise SepasrError(f"{path}: cannot be written: {error}") from None


def resample(audio: NDArray[np.floating], rate: int, wanted: int) -> Audio:
    """Resample along the last axis by a polyphase filter; N becomes ceil(N * wanted / rate)."""
    if rate == wanted:
        return np.asarray(audio, np.float32)
    from scipy.signal import resample_poly

    common = gcd(rate, wanted)
    return np.asarray(resample_poly(audio, wanted // common, rate // common, axis=-1), np.float32)


def resampled(pieces: Iterable[NDArray[np.floating]], rate: int, wanted: int) -> Iterator[Audio]:
    """What `resample` gives of the whole, from pieces (M, n) that follow each other, in pieces.

    The filter of `scipy.signal.resample_poly` reaches 10 * max(up, down) of the samples between the input's and the
    output's: a piece that begins and ends where input and output fall together, with so much around it, is exact.
    """
    common = gcd(rate, wanted)
    up, down = wanted // common, rate // common
    reach = -(-10 * max(up, down) // (up * down)) * down
    held: NDArray[np.floating] | None = None
    done = 0
    for piece in pieces:
        if rate == wanted:
            yield np.asarray(piece, np.float32)
            continue
        held = piece if held is None else np.concatenate([held, piece], axis=-1)
        ready = (held.shape[-1] - reach) // down * down
        if ready > done:
            yield resample(held, rate, wanted)[..., done // down * up : ready // down * up]
            first = max(ready - reach, 0)
            held, done = held[..., first:], ready - first
    if held is not None:
        yield resample(held, rate, wanted)[..., done // down * up :]


def find(folder: Path) -> list[Path]:
    """Every audio file below a folder, hidden ones left out, in a stable order."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
