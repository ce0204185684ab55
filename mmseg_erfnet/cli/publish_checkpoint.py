"""Make a file for release from the checkpoint of a run: weights only, convolutions in float16.

    python tools/publish_checkpoint.py work_dirs/erfnet_camvid11/epoch_1000.pth weights/erfnet_camvid11_train.pth

Also writes NAME.log.json next to it, with the losses, learning rates and scores that the run logged. Prints the size
and the SHA-256 for model-index.yml.
"""

from collections.abc import Sequence
from pathlib import Path

from mmseg_erfnet.cli.common import add_trust_checkpoint, make_parser, tool
from mmseg_erfnet.mmseg_import import require_mmseg


@tool
def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument('source', type=Path, metavar='SRC', help='checkpoint, in the work dir of its run')
    parser.add_argument('target', type=Path, metavar='DST', help='file to write')
    add_trust_checkpoint(parser)
    args = parser.parse_args(argv)

    require_mmseg()
    from mmseg_erfnet.release import publish

    print(publish(args.source, args.target, args.trust_checkpoint))
