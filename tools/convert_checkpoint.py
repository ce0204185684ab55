#!/usr/bin/env python
"""Convert a checkpoint of ERFNet's authors to MMSegmentation's form, or back.

    python tools/convert_checkpoint.py erfnet_pretrained.pth erfnet.pth
    python tools/convert_checkpoint.py erfnet_pretrained.pth encoder.pth --encoder-only
    python tools/convert_checkpoint.py work_dirs/erfnet_cityscapes_paper/best.pth authors.pth --to-authors

The first result is for ERFNet with ERFNetHead (configs/erfnet_cityscapes_paper.py) and as many classes as the file has:
the authors' Cityscapes weights have 20. Weights of MMSegmentation's own ERFNet need no conversion.
"""

from pathlib import Path

from mmseg_erfnet import cli


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument('source', type=Path, metavar='SRC', help='checkpoint to convert')
    parser.add_argument('target', type=Path, metavar='DST', help='file to write')
    parser.add_argument('--to-authors', action='store_true', help="from MMSegmentation's form to the authors'")
    parser.add_argument('--encoder-only', action='store_true', help='convert the encoder alone')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='load a checkpoint that holds more than data; it may run code of whoever wrote it')
    args = parser.parse_args()

    cli.import_mmseg()
    from mmseg_erfnet.engine.checkpointing import save_whole
    from mmseg_erfnet.models.checkpoints import from_authors, load_checkpoint_file, to_authors

    convert = to_authors if args.to_authors else from_authors
    checkpoint = load_checkpoint_file(args.source, trust=args.trust_checkpoint)
    converted = convert(checkpoint, encoder_only=args.encoder_only or None)
    save_whole(converted, args.target)
    print(f'{args.target}: {len(converted.get("state_dict", converted))} arrays')


if __name__ == '__main__':
    cli.run(main)
