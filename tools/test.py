#!/usr/bin/env python
"""Score a checkpoint: print the metrics and a table of the classes, and write metrics.json.

`python tools/test.py --help` is the manual; the code is mmseg_erfnet/cli/test.py.
"""

from _tool import run

if __name__ == '__main__':
    run('test')
