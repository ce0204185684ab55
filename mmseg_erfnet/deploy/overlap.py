"""Reading ahead of the model and writing behind it, in threads: decoders, encoders and models leave Python's lock."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator

DEPTH = 4  # results that wait between two threads
POLL = 0.1  # seconds after which a wait looks whether it should end
PATIENCE = 5.0  # seconds for a reader to end, which may hang in a stream

_END = object()


class _Reader:
    """A thread that puts the items of an iterable into a queue, then the end, or what failed."""

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
        except BaseException as found:  # whatever it is, the consumer has to know
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
    """Yield items that a thread takes from an iterable meanwhile; what fails there is raised here.

    Args:
        items: What to yield. It is used by the thread alone.
        stopped: Asked while waiting; where it is true, no further item is yielded.
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


class Behind:
    """A thread that does one thing after another while the next is prepared. What fails in it is raised at the next.

    To be used in a ``with`` statement, at whose end all is done.
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
        """Have ``function(*args)`` called, after what was submitted before."""
        if self._error is not None:
            raise self._error
        self._waiting.put((function, *args))

    def __exit__(self, kind, *rest) -> None:
        self._waiting.put(None)
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error
