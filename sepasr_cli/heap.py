"""How the C library hands memory out: by default large arrays are mapped anew each time, and all pages fault again."""

import ctypes
import sys
from functools import cache

#: Of mallopt(3): the size from which memory is mapped apart, and how much may stay unused at the heap's end.
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1
_BYTES = 1 << 30


@cache
def keep_heap() -> bool:
    """Let this process keep the memory of arrays that it freed for the next ones; False where glibc is not in use.

    Scoring a mixture of 6 s takes a third less time so.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _BYTES) and mallopt(_M_TRIM_THRESHOLD, _BYTES))
