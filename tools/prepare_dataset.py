#!/usr/bin/env python
"""Check one's own data, as a labelling tool exported them, and bring them into the layout that the configs read.

`python tools/prepare_dataset.py --help` is the manual; the code is mmseg_erfnet/cli/prepare_dataset.py.
"""

from _tool import run

if __name__ == '__main__':
    run('prepare_dataset')
