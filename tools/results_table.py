#!/usr/bin/env python
"""Write the README's results table from model-index.yml.

`python tools/results_table.py --help` is the manual; the code is mmseg_erfnet/cli/results_table.py.
"""

from _tool import run

if __name__ == '__main__':
    run('results_table')
