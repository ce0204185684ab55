#!/usr/bin/env python
"""Measure a model's speed in everything that can run it here: a table in Markdown.

    python tools/benchmark.py configs/erfnet_camvid11.py best.pth --size 360x480 256x256
    ... --rows openvino-int8 --json benchmark.json
    ... --threads 1 --batch 8

Every row is measured in turn, again and again, so compare rows of one run only. Each has the median and the 90th
percentile of the latency from a uint8 frame to uint8 labels, and the network alone. "Of the limit" is the time that the
multiply-accumulates would take at the best rate that this machine reached in that precision, by the time it took.
"""

import json
from pathlib import Path

from mmseg_erfnet import cli
from mmseg_erfnet.deploy.arguments import ROWS, export_packages, size


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file (default: random weights)')
    parser.add_argument('--size', nargs='+', type=size, default=[(360, 480)], metavar='HxW', dest='sizes')
    parser.add_argument('--batch', type=int, default=1, metavar='N')
    parser.add_argument('--threads', type=int, metavar='N', help='CPU threads (default: all cores)')
    parser.add_argument('--rounds', type=int, default=10, help='turns of each row (default: 10, of 5 runs each)')
    parser.add_argument('--rows', nargs='+', choices=ROWS, default=ROWS, help='what to measure (default: all)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures there, too')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='load a checkpoint that holds more than data; it may run code of whoever wrote it')
    cli.add_config_options(parser)
    args = parser.parse_args()

    with export_packages():
        from mmseg_erfnet.deploy.benchmark import benchmark, table
    from mmseg_erfnet.engine.launch import load_config

    result = benchmark(load_config(args.config, options=args.cfg_options), args.checkpoint, args.sizes, args.batch,
                       args.threads, args.rounds, args.rows, args.trust_checkpoint)
    print(table(result))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1))


if __name__ == '__main__':
    cli.run(main)
