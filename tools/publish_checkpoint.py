#!/usr/bin/env python
"""Make the file that is handed on from the checkpoint of a run: weights alone, convolutions in float16.

    python tools/publish_checkpoint.py work_dirs/erfnet_camvid11/epoch_1000.pth weights/erfnet_camvid11_train.pth

Beside it, NAME.log.json gets the losses, learning rates and scores that the run logged. Prints the size and the
SHA-256, for model-index.yml.
"""

from pathlib import Path

from mmseg_erfnet import cli


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument('source', type=Path, metavar='SRC', help='checkpoint in the work dir of its run')
    parser.add_argument('target', type=Path, metavar='DST', help='file to write')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='load a checkpoint that holds more than data; it may run code of whoever wrote it')
    args = parser.parse_args()

    from mmseg_erfnet.engine.publishing import publish

    print(publish(args.source, args.target, args.trust_checkpoint))


if __name__ == '__main__':
    cli.run(main)
