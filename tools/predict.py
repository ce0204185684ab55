#!/usr/bin/env python
"""Predict images, folders, videos, cameras and streams.

`python tools/predict.py --help` is the manual; the code is mmseg_erfnet/cli/predict.py.
"""

from _tool import run

if __name__ == '__main__':
    run('predict')
