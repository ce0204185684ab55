#!/usr/bin/env python
"""Check the installation and, if a config is given, whether its model and its data fit.

`python tools/doctor.py --help` is the manual; the code is mmseg_erfnet/cli/doctor.py.
"""

from _tool import run

if __name__ == '__main__':
    run('doctor')
