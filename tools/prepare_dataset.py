#!/usr/bin/env python
"""Check your own data, exported by a labelling tool, and convert them to the layout that the configs read.

`python tools/prepare_dataset.py --help` is the manual; the code is mmseg_erfnet/cli/prepare_dataset.py.
"""

from _tool import run

if __name__ == '__main__':
    run('prepare_dataset')
