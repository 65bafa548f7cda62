"""Memory that a training step gives back is kept for the next one.

The C library of Linux maps large blocks anew for every tensor and returns them when they are freed: each training step
on a CPU would then wait for the kernel to clear the same gigabytes again.
"""

import ctypes
import sys

#: Parameters of mallopt(3), and the largest value that they take.
M_TRIM_THRESHOLD, M_MMAP_MAX, NEVER = -1, -4, 2**31 - 1


def keep_heap() -> bool:
    """Let this process hold on to freed memory; whether the C library can be told so (that of GNU can)."""
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return library.mallopt(M_MMAP_MAX, 0) == 1 and library.mallopt(M_TRIM_THRESHOLD, NEVER) == 1
