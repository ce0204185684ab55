#!/usr/bin/env python
"""Check CamVid and convert it to the layout that the configs read.

`python tools/prepare_camvid.py --help` is the manual; the code is mmseg_erfnet/cli/prepare_camvid.py.
"""

from _tool import run

if __name__ == '__main__':
    run('prepare_camvid')
