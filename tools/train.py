#!/usr/bin/env python
"""Train a model and validate it during training.

`python tools/train.py --help` is the manual; the code is mmseg_erfnet/cli/train.py.
"""

from _tool import run

if __name__ == '__main__':
    run('train')
