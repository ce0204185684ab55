"""Convert a checkpoint of ERFNet's authors to MMSegmentation's format, or back.

    python tools/convert_checkpoint.py erfnet_pretrained.pth erfnet.pth
    python tools/convert_checkpoint.py erfnet_pretrained.pth encoder.pth --encoder-only
    python tools/convert_checkpoint.py work_dirs/erfnet_cityscapes_paper/best.pth authors.pth --to-authors

The first command writes weights for ERFNet with ERFNetHead (configs/erfnet_cityscapes_paper.py), with the number of
classes of the source: the authors' Cityscapes weights have 20. Weights of MMSegmentation's own ERFNet need no
conversion.
"""

from collections.abc import Sequence
from pathlib import Path

from mmseg_erfnet.cli.common import add_trust_checkpoint, make_parser, tool
from mmseg_erfnet.mmseg_import import require_mmseg


@tool
def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument('source', type=Path, metavar='SRC', help='checkpoint to convert')
    parser.add_argument('target', type=Path, metavar='DST', help='file to write')
    parser.add_argument('--to-authors', action='store_true', help="convert MMSegmentation's format to the authors'")
    parser.add_argument('--encoder-only', action='store_true', help='convert only the encoder')
    add_trust_checkpoint(parser)
    args = parser.parse_args(argv)

    require_mmseg()
    from mmseg_erfnet.models.checkpoints import load_checkpoint_file, save_checkpoint_file
    from mmseg_erfnet.models.conversion import from_authors, to_authors

    convert = to_authors if args.to_authors else from_authors
    checkpoint = load_checkpoint_file(args.source, trust=args.trust_checkpoint)
    converted = convert(checkpoint, encoder_only=args.encoder_only or None)
    save_checkpoint_file(converted, args.target)
    print(f'{args.target}: {len(converted.get("state_dict", converted))} arrays')
