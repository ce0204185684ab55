"""Suppress what C code and other processes print. Needs only Python."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def silenced(*descriptors: int) -> Iterator[None]:
    """Discard what is written to file descriptors: 1 for standard output, 2 for standard error."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # closed, or None
            stream.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    saved = {}
    try:
        for descriptor in descriptors:
            with contextlib.suppress(OSError):  # closed
                saved[descriptor] = os.dup(descriptor)
                os.dup2(nowhere, descriptor)
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, OSError, ValueError):
                stream.flush()
        for descriptor, copy in saved.items():
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(nowhere)
