"""Protection of a thread's alternate signal stack against OpenVINO."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SS_DISABLE = 2


class _Stack(ctypes.Structure):
    """Linux's ``stack_t``."""

    _fields_ = [('start', ctypes.c_void_p), ('flags', ctypes.c_int), ('size', ctypes.c_size_t)]


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Restore this thread's alternate signal stack on exit. Also usable as a decorator.

    OpenVINO's CPU plugin installs an alternate signal stack (sigaltstack(2)) on the thread that loads it, because AMX
    registers need the space, and unmaps it when the ``Core`` is released. If the older of two cores is released first,
    the younger one restores a stack that no longer exists; if a ``Core`` is released in another thread, nothing is
    restored. The next signal that Python handles (Ctrl-C, the end of a child process) then kills the process without a
    message, because faulthandler has no stack either. OpenVINO does not touch a stack that is not its own, so restoring
    the thread's stack after each use is enough. AMX stays enabled.
    """
    if not sys.platform.startswith('linux'):
        yield
        return
    sigaltstack = ctypes.CDLL(None).sigaltstack
    before = _Stack()
    sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        # The kernel refuses a stack that is too small for AMX: signals then run on the thread's own stack.
        if sigaltstack(ctypes.byref(before), None):
            sigaltstack(ctypes.byref(_Stack(None, SS_DISABLE, 0)), None)
