#!/usr/bin/env python
"""Report on a config's data: classes, sizes, samples, augmentations, and class weights for the loss.

`python tools/dataset_report.py --help` is the manual; the code is mmseg_erfnet/cli/dataset_report.py.
"""

from _tool import run

if __name__ == '__main__':
    run('dataset_report')
