#!/usr/bin/env python
"""Make a small synthetic CamVid, to try everything without the download.

`python tools/synthesize_camvid.py --help` is the manual; the code is mmseg_erfnet/cli/synthesize_camvid.py.
"""

from _tool import run

if __name__ == '__main__':
    run('synthesize_camvid')
