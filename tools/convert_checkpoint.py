#!/usr/bin/env python
"""Convert a checkpoint of ERFNet's authors to MMSegmentation's format, or back.

`python tools/convert_checkpoint.py --help` is the manual; the code is mmseg_erfnet/cli/convert_checkpoint.py.
"""

from _tool import run

if __name__ == '__main__':
    run('convert_checkpoint')
