"""Make a small synthetic CamVid, to try everything without the download.

    python tools/synthesize_camvid.py --out data/synthetic_camvid
    python tools/synthesize_camvid.py --out /tmp/tiny --images 8 --size 96x128 --seed 1
    python tools/synthesize_camvid.py --video street.webm --images 150         a video of such a street

The folder has the layout of `data/camvid`, with street-like scenes in the 32 colours. The same arguments give the same
images.
"""

from collections.abc import Sequence
from pathlib import Path

from mmseg_erfnet.cli.common import make_parser, parse_size, tool
from mmseg_erfnet.deploy.video import write_clip
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.mmseg_import import require_mmseg


@tool
def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument('--out', type=Path, help='folder to make')
    target.add_argument('--video', type=Path, metavar='FILE', help='write a video (.webm) instead')
    parser.add_argument('--images', type=int, default=60, help='number of frames (default: %(default)s)')
    parser.add_argument('--size', type=parse_size, default=(360, 480), help='HEIGHTxWIDTH (default: 360x480)')
    parser.add_argument('--seed', type=int, default=0, help='another seed gives other scenes (default: %(default)s)')
    args = parser.parse_args(argv)

    require_mmseg()
    from mmseg_erfnet.datasets.synthetic import synthesize_camvid
    from mmseg_erfnet.datasets.synthetic_sequence import render_sequence

    if args.video:
        if args.video.suffix != '.webm':
            raise UsageError(f'A clip is written as .webm: got {args.video}.')
        write_clip(args.video, (frame for frame, _ in render_sequence(args.size, args.images, args.seed)))
        print(f'{args.images} synthetic frames of {args.size[0]}x{args.size[1]} in {args.video}')
        return
    synthesize_camvid(args.out, args.images, args.size, args.seed)
    print(f'{args.images} synthetic frames of {args.size[0]}x{args.size[1]} in {args.out}')
