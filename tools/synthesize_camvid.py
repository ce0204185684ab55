#!/usr/bin/env python
"""Make a small synthetic CamVid, for trying everything out without the download.

    python tools/synthesize_camvid.py --out data/synthetic_camvid
    python tools/synthesize_camvid.py --out /tmp/tiny --images 8 --size 96x128 --seed 1

The folder has the layout of `data/camvid` and street-like scenes in the 32 colours, the same for the same arguments.
"""

import argparse
from pathlib import Path

from mmseg_erfnet import cli


def parse_size(text: str) -> tuple[int, int]:
    try:
        height, width = map(int, text.lower().split('x'))
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is not HEIGHTxWIDTH, 360x480 for instance') from None
    return height, width


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument('--out', type=Path, required=True, help='folder to make')
    parser.add_argument('--images', type=int, default=60, help='number of frames (default: %(default)s)')
    parser.add_argument('--size', type=parse_size, default=(360, 480), help='HEIGHTxWIDTH (default: 360x480)')
    parser.add_argument('--seed', type=int, default=0, help='another seed gives other scenes (default: %(default)s)')
    args = parser.parse_args()

    cli.import_mmseg()
    from mmseg_erfnet.datasets.synthetic import synthesize_camvid

    synthesize_camvid(args.out, args.images, args.size, args.seed)
    print(f'{args.images} synthetic frames of {args.size[0]}x{args.size[1]} in {args.out}')


if __name__ == '__main__':
    cli.run(main)
