#!/usr/bin/env python
"""Export a model: frames in, labels out, nothing of PyTorch needed to run it.

`python tools/export.py --help` is the manual; the code is mmseg_erfnet/cli/export.py.
"""

from _tool import run

if __name__ == '__main__':
    run('export')
