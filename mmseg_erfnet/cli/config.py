"""List the shipped configs, print a complete one, or copy one with its bases.

    mmseg-erfnet config                                  the names of the shipped configs
    mmseg-erfnet config erfnet_camvid11                  the whole config, bases merged
    mmseg-erfnet config erfnet_camvid11 --copy .         write it and its bases into the current folder

`_base_` takes relative paths, so the bases of a config must be in the same folder: copy the config that yours starts
from. Existing files that differ are not overwritten.
"""

from collections.abc import Sequence
from pathlib import Path

from mmseg_erfnet.cli.common import make_parser, tool
from mmseg_erfnet.configs import copy_config, shipped_configs
from mmseg_erfnet.errors import UsageError


@tool
def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument('name', nargs='?', help='name of a shipped config, without .py')
    parser.add_argument('--copy', type=Path, metavar='DIR', help='folder to write the config and its bases into')
    args = parser.parse_args(argv)

    known = shipped_configs()
    if args.name is None:
        if args.copy is not None:
            raise UsageError(f'--copy needs the name of a config: {", ".join(known)}.')
        print('\n'.join(known))
        return
    name = args.name.removesuffix('.py')
    if name not in known:
        raise UsageError(f'There is no shipped config {args.name}: choose one of {", ".join(known)}.')
    if args.copy is not None:
        for path in copy_config(name, args.copy):
            print(path)
        return
    from mmseg_erfnet.mmseg_import import require_mmseg

    require_mmseg()
    from mmengine.config import Config

    print(Config.fromfile(known[name]).pretty_text)
