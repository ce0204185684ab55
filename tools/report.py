#!/usr/bin/env python
"""Write the results in a work dir as one HTML file: scores, mistakes, curves, config, environment.

`python tools/report.py --help` is the manual; the code is mmseg_erfnet/cli/report.py.
"""

from _tool import run

if __name__ == '__main__':
    run('report')
