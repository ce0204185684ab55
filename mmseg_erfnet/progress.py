"""Progress display for all tools: tqdm on a terminal, one line every ten seconds in a log, on standard error."""

import sys

from tqdm import tqdm

LOG_INTERVAL = 10.0  # seconds between two lines if standard error is not a terminal


class _Lines:
    """A stream for tqdm without a terminal: each update becomes a separate line."""

    def __init__(self, stream) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        text = text.strip('\r\n ')
        if text:
            self.stream.write(f'{text}\n')

    def flush(self) -> None:
        self.stream.flush()


def progress(what: str, total: int | None, unit: str = 'it', note: str = '', **options) -> tqdm:
    """Return a tqdm bar, to be used in a ``with`` statement and advanced with ``update``.

    Args:
        what: Description at the start of the line.
        total: The final count; None or 0 if unknown.
        unit: What is counted, such as ``frames``.
        note: Text after the numbers.
        options: Further arguments of tqdm.
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        desc=what,
        total=total or None,
        unit=f' {unit}',
        postfix=note or None,
        file=sys.stderr if terminal else _Lines(sys.stderr),
        mininterval=0.1 if terminal else LOG_INTERVAL,
        dynamic_ncols=terminal,
        ascii=not terminal,
        **options,
    )


def bar_line(done: int, total: int, text: str, columns: int) -> str:
    """Return a text behind a bar of up to 20 columns, drawn by tqdm, as far as there is room for both.

    Args:
        done: How many of ``total`` are done.
        total: The count at the end.
        text: What to show.
        columns: Width of the terminal.
    """
    width = min(columns - len(text) - 3, 20)
    if width <= 3:
        return text[:columns]
    return tqdm.format_meter(done, total, 0, bar_format=f'|{{bar:{width}}}| {{desc}}', prefix=text, ascii=' =')
