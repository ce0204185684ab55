"""A counter on standard error: in place on a terminal, ten lines in a log."""

import sys
import time


class Progress:
    """Count up to a total.

    Args:
        what: What is counted, the line's first words.
        total: The count at the end, or 0 if it is not known.
    """

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.count = what, total, 0
        self._shown_at, self._shown_tenth = 0.0, 0

    def update(self, number: int = 1) -> None:
        """Count `number` more."""
        self.count += number
        ended = self.count == self.total
        if sys.stderr.isatty():
            if ended or time.monotonic() - self._shown_at > 0.1:
                self._shown_at = time.monotonic()
                print(f'\r{self}', end='\n' if ended else '', file=sys.stderr, flush=True)
        elif self.total and self.count * 10 // self.total > self._shown_tenth:
            self._shown_tenth = self.count * 10 // self.total
            print(self, file=sys.stderr, flush=True)

    def __str__(self) -> str:
        return f'{self.what}: {self.count}' + (f' of {self.total}' if self.total else '')
