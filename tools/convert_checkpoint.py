"""Convert a checkpoint of ERFNet's authors to MMSegmentation's form, or back.

    python tools/convert_checkpoint.py erfnet_pretrained.pth erfnet.pth
    python tools/convert_checkpoint.py --encoder-only erfnet_pretrained.pth encoder.pth
    python tools/convert_checkpoint.py --to-authors work_dirs/erfnet_cityscapes_paper/best.pth authors.pth

The result of the first is for a model of ERFNet with ERFNetHead (configs/erfnet_cityscapes_paper.py) and as many
classes as the file has: the authors' Cityscapes weights have 20. Weights of MMSegmentation's ERFNet need no conversion.
"""

import argparse
import os
import sys
from pathlib import Path

import torch

from mmseg_erfnet.models.checkpoints import CheckpointError, from_authors, load_checkpoint_file, to_authors


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', type=Path, metavar='SRC', help='checkpoint to convert')
    parser.add_argument('target', type=Path, metavar='DST', help='file to write')
    parser.add_argument('--to-authors', action='store_true', help="from MMSegmentation's form to the authors'")
    parser.add_argument('--encoder-only', action='store_true', help='convert the encoder alone')
    parser.add_argument('--trust-checkpoint', action='store_true', help='let SRC run the code it brings')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    convert = to_authors if args.to_authors else from_authors
    try:
        checkpoint = load_checkpoint_file(args.source, trust=args.trust_checkpoint)
        converted = convert(checkpoint, encoder_only=args.encoder_only or None)
    except CheckpointError as error:
        sys.exit(f'{args.source}: {error}' if str(args.source) not in str(error) else str(error))

    args.target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = args.target.with_name(f'{args.target.name}.unfinished')
    try:
        torch.save(converted, unfinished)
        os.replace(unfinished, args.target)
    finally:
        unfinished.unlink(missing_ok=True)
    print(f'{args.target}: {len(converted.get("state_dict", converted))} arrays')


if __name__ == '__main__':
    main()
