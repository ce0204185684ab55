"""Check the installation and, if a config is given, whether its model and its data fit.

    python tools/doctor.py
    python tools/doctor.py configs/erfnet_camvid.py

Each problem is printed in one line with its remedy. The exit status is 1 if there are any.
"""

import sys
from collections.abc import Sequence

from mmseg_erfnet.cli.common import add_config_options, given, make_parser, parse_options, tool
from mmseg_erfnet.doctor import examine, report
from mmseg_erfnet.mmseg_import import import_mmseg


@tool
def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument('config', nargs='?', help='config file')
    add_config_options(parser)
    args = parser.parse_args(argv)

    given(args.cfg_options, '--cfg-options', args.config is not None, 'without a config')
    # If MMSegmentation cannot be imported, the findings report that, and the config is not read.
    options = parse_options(args.cfg_options) if import_mmseg() else {}
    if report(examine(args.config, options)):
        sys.exit(1)
