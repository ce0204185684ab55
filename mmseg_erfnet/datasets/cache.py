"""A cache of decoded frames and labels, in memory shared by all workers of a data loader."""

import mmap
import multiprocessing
import pickle

import numpy as np

EMPTY = -1


class SharedCache:
    """Pickled values under names that are known in advance, limited in bytes; values that do not fit are not kept.

    The memory is an anonymous mapping created before the workers are forked: all workers share it, it outlives them,
    a small /dev/shm does not limit it, and pages that were never written to take no memory. A copy of a cache, or one
    sent to a process that was not forked, is None.

    Args:
        names: All names.
        size: Largest total size of the values, in bytes.
    """

    def __init__(self, names: list[str], size: int) -> None:
        self.slots = {name: slot for slot, name in enumerate(names)}
        self.memory = mmap.mmap(-1, size)
        # Start and end of each value, followed by the start of free memory.
        index = mmap.mmap(-1, 8 * (2 * len(self.slots) + 1))
        self.ends = np.frombuffer(index, np.int64)
        self.ends[:-1] = EMPTY
        self.lock = multiprocessing.Lock()

    def get(self, name: str) -> object | None:
        """Return a copy of the value, or None."""
        slot = self.slots.get(name)
        if slot is None or not self._locked():
            return None
        start, end = self.ends[2 * slot : 2 * slot + 2].tolist()
        self.lock.release()
        return None if start == EMPTY else pickle.loads(memoryview(self.memory)[start:end])

    def put(self, name: str, value: object) -> None:
        """Store a value, if it fits and there is none under the name yet."""
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
        # A worker that was killed while holding the lock must not block the others.
        return self.lock.acquire(timeout=1)

    def __reduce__(self) -> tuple:
        return type(None), ()
