"""Reading ahead of the model and writing behind it, in threads: decoders, encoders and models release Python's GIL."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

DEPTH = 4  # maximum number of items queued between two threads
POLL = 0.1  # seconds between checks whether a wait should end
PATIENCE = 5.0  # seconds to wait for a reader to end, as it may hang in a stream

_END = object()


class _Reader:
    """A thread that puts the items of an iterable into a queue, followed by an end mark or the error."""

    def __init__(self, items: Iterable) -> None:
        self.waiting: queue.Queue = queue.Queue(DEPTH)
        self.ended = threading.Event()
        self._items = items
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        error = None
        try:
            for item in self._items:
                if not self._put((item, None)):
                    return
        except BaseException as found:  # the consumer has to learn of any error
            error = found
        self._put((_END, error))

    def _put(self, item: tuple) -> bool:
        while not self.ended.is_set():
            try:
                self.waiting.put(item, timeout=POLL)
                return True
            except queue.Full:
                continue
        return False


def ahead(items: Iterable, stopped: Callable[[], bool] = lambda: False) -> Iterator:
    """Yield the items of an iterable while a thread reads ahead; an error in the thread is raised here.

    Args:
        items: What to yield. Only the thread uses it.
        stopped: Called while waiting; once it returns true, no further item is yielded.
    """
    reader = _Reader(items)
    try:
        while not stopped():
            try:
                item, error = reader.waiting.get(timeout=POLL)
            except queue.Empty:
                continue
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        reader.ended.set()
        reader.thread.join(PATIENCE)


def side_by_side(function: Callable, items: Iterable, number: int) -> Iterator[tuple]:
    """Yield ``(item, function(item))`` in order; up to ``number`` calls run at the same time, in threads.

    An error of a call is raised in its turn.
    """
    if number == 1:
        for item in items:
            yield item, function(item)
        return
    waiting: deque = deque()
    with ThreadPoolExecutor(number) as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(function, item)))
                # One more than run, so that no thread waits for the consumer.
                if len(waiting) > number:
                    item, future = waiting.popleft()
                    yield item, future.result()
            while waiting:
                item, future = waiting.popleft()
                yield item, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


class Behind:
    """A thread that runs tasks in order while the caller prepares the next one.

    Use it in a ``with`` statement; all tasks are done when the statement ends. An error in a task is raised at the next
    ``submit``, or at the end.
    """

    def __enter__(self) -> 'Behind':
        self._waiting: queue.Queue = queue.Queue(DEPTH)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        return self

    def _work(self) -> None:
        while (task := self._waiting.get()) is not None:
            if self._error is None:
                try:
                    task[0](*task[1:])
                except BaseException as error:  # raised in the thread that submits
                    self._error = error

    def submit(self, function: Callable, *args) -> None:
        """Queue a call of ``function(*args)``."""
        if self._error is not None:
            raise self._error
        self._waiting.put((function, *args))

    def __exit__(self, kind, *rest) -> None:
        self._waiting.put(None)
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error
