"""Interleaved timing."""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

# Runs per round: few, so that variations in the machine's speed affect everything that is measured alike.
BURST = 5


def interleaved(functions: Mapping[Hashable, Callable[[], object]], rounds: int) -> dict[Hashable, list[float]]:
    """Return the seconds of each run of each function, in bursts of :data:`BURST` after one run that is not counted.

    Args:
        functions: The functions by name.
        rounds: Number of bursts per function, after one that is not counted: it warms up caches, threads and clocks.
    """
    seconds = {name: [] for name in functions}
    for round_ in range(rounds + 1):
        for name, function in functions.items():
            function()
            for _ in range(BURST):
                started = time.perf_counter()
                function()
                if round_:
                    seconds[name].append(time.perf_counter() - started)
    return seconds


def latency(seconds: Sequence[float], batch: int) -> dict:
    """Return ``median``, ``p90`` and ``min`` in milliseconds, and ``fps`` from the median, of runs on a batch."""
    median, p90 = np.percentile(seconds, [50, 90]) * 1e3
    return dict(median=median, p90=p90, min=min(seconds) * 1e3, fps=batch / median * 1e3)
