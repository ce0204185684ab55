"""Decoded frames and labels in memory that all workers of a data loader share."""

import mmap
import multiprocessing
import pickle

import numpy as np

EMPTY = -1


class SharedCache:
    """Pickled values under names that are known beforehand, bounded in bytes; what finds no place is not kept.

    The memory is an anonymous mapping made before the workers are forked: what one puts the others get, it outlives
    workers, a small /dev/shm is no limit, and pages that nothing was written to cost nothing. A copy of a cache, or one
    sent to a process that was not forked, is None.

    Args:
        names: All names.
        size: Bytes for the values, at the most.
    """

    def __init__(self, names: list[str], size: int) -> None:
        self.slots = {name: slot for slot, name in enumerate(names)}
        self.memory = mmap.mmap(-1, size)
        # Where each value begins and ends, and at last where free memory begins.
        index = mmap.mmap(-1, 8 * (2 * len(self.slots) + 1))
        self.ends = np.frombuffer(index, np.int64)
        self.ends[:-1] = EMPTY
        self.lock = multiprocessing.Lock()

    def get(self, name: str) -> object | None:
        """A copy of the value, or None."""
        slot = self.slots.get(name)
        if slot is None or not self._locked():
            return None
        start, end = self.ends[2 * slot : 2 * slot + 2].tolist()
        self.lock.release()
        return None if start == EMPTY else pickle.loads(memoryview(self.memory)[start:end])

    def put(self, name: str, value: object) -> None:
        """Keep a value, if there is room for it and none is kept under the name."""
        slot = self.slots.get(name)
        data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        if slot is None or not self._locked():
            return
        start = int(self.ends[-1])
        end = start + len(data)
        if self.ends[2 * slot] == EMPTY and end <= len(self.memory):
            self.memory[start:end] = data
            self.ends[2 * slot : 2 * slot + 2] = start, end
            self.ends[-1] = end
        self.lock.release()

    def _locked(self) -> bool:
        # A worker that was killed while it held the lock must not stop the others.
        return self.lock.acquire(timeout=1)

    def __reduce__(self) -> tuple:
        return type(None), ()
