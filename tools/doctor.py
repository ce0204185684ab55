#!/usr/bin/env python
"""Say what is installed and, of a config, whether its model and its data fit. Each problem is a line with its remedy.

    python tools/doctor.py
    python tools/doctor.py configs/erfnet_camvid.py
"""

import sys

from mmseg_erfnet import cli
from mmseg_erfnet.doctor import examine, report


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument('config', nargs='?', help='config file')
    cli.add_config_options(parser)
    args = parser.parse_args()
    sys.exit(min(1, report(examine(args.config, getattr(args, 'cfg_options', None)))))


if __name__ == '__main__':
    cli.run(main)
