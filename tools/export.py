#!/usr/bin/env python
"""Export a model that takes frames, returns labels and runs without PyTorch.

`python tools/export.py --help` is the manual; the code is mmseg_erfnet/cli/export.py.
"""

from _tool import run

if __name__ == '__main__':
    run('export')
