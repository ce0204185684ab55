#!/usr/bin/env python
"""Make a file for release from the checkpoint of a run: weights only, convolutions in float16.

`python tools/publish_checkpoint.py --help` is the manual; the code is mmseg_erfnet/cli/publish_checkpoint.py.
"""

from _tool import run

if __name__ == '__main__':
    run('publish_checkpoint')
