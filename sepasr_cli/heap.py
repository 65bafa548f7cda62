"""Memory that work gives back is kept for what comes next.

The C library of Linux maps large blocks anew for every array and returns them when they are freed: each training step
on a CPU, each window separated, each mixture scored, would then wait for the kernel to clear the same memory again.
"""

import ctypes
import sys
from functools import cache

#: Parameters of mallopt(3), and the largest value that they take.
M_TRIM_THRESHOLD, M_MMAP_MAX, NEVER = -1, -4, 2**31 - 1


@cache
def keep_heap() -> bool:
    """Let this process hold on to freed memory; whether the C library can be told so (that of GNU can)."""
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return library.mallopt(M_MMAP_MAX, 0) == 1 and library.mallopt(M_TRIM_THRESHOLD, NEVER) == 1
