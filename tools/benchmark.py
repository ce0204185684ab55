#!/usr/bin/env python
"""Measure speed: latency of inference in every installed backend, or throughput of training.

`python tools/benchmark.py --help` is the manual; the code is mmseg_erfnet/cli/benchmark.py.
"""

from _tool import run

if __name__ == '__main__':
    run('benchmark')
