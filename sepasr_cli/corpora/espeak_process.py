"""One utterance of eSpeak NG, run as a program of its own: `python espeak_process.py LIBRARY DATA`.

What eSpeak makes depends on what it made before in the same process, so every utterance has a fresh one. Read from
standard input: JSON with voice, rate, pitch, range and text. Written to standard output: 4 bytes of sample rate
(little endian), then 16-bit samples. Needs nothing but the standard library, which makes it start in milliseconds.
"""

import ctypes
import json
import sys
from typing import Any

# Numbers of eSpeak's speak_lib.h.
SYNCHRONOUS = 2
RATE, PITCH, RANGE = 1, 3, 4
BY_CHARACTER = 1
UTF8 = 1

Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def speak(library: str, data: str, job: dict) -> tuple[int, bytes]:
    """The sample rate in Hz and the samples of one utterance."""
    espeak = ctypes.CDLL(library)
    sample_rate = espeak.espeak_Initialize(SYNCHRONOUS, 0, data.encode(), 0)
    if sample_rate <= 0:
        sys.exit(f"eSpeak does not start with the data in {data}")
    espeak.espeak_ng_SetRandSeed(ctypes.c_long(1))
    pieces: list[bytes] = []

    def take(samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            pieces.append(ctypes.string_at(samples, 2 * count))
        return 0

    callback = Callback(take)
    espeak.espeak_SetSynthCallback(callback)
    if espeak.espeak_SetVoiceByName(job["voice"].encode()) != 0:
        sys.exit(f"eSpeak has no voice {job['voice']}")
    for parameter, value in ((RATE, job["rate"]), (PITCH, job["pitch"]), (RANGE, job["range"])):
        espeak.espeak_SetParameter(parameter, value, 0)
    text = job["text"].encode() + b"\0"
    if espeak.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, BY_CHARACTER, 0, UTF8, None, None) != 0:
        sys.exit("eSpeak refused the text")
    espeak.espeak_Synchronize()
    return sample_rate, b"".join(pieces)


if __name__ == "__main__":
    rate, samples = speak(sys.argv[1], sys.argv[2], json.loads(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(rate.to_bytes(4, "little") + samples)
