"""Memory that a step frees serves the next one."""

import ctypes
import sys

# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Have glibc keep large blocks when they are freed, for all of this process; return whether it agreed.

    By default it returns each to the system, which hands it out again page by page, cleared: that took a tenth of a
    training step on a CPU, whose activations are large, short-lived and of the same sizes in every step. The process
    then keeps as much memory as it used at its peak.
    """
    if not sys.platform.startswith('linux'):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1) and mallopt(M_TOP_PAD, 1 << 28))
