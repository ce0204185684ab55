#!/usr/bin/env python
"""Measure a model's speed in everything that can run it here: a table in Markdown.

    python tools/benchmark.py configs/erfnet_camvid11.py best.pth --size 360x480 256x256
    ... --rows openvino-int8 --json benchmark.json
    ... --threads 1 --batch 8
    python tools/benchmark.py configs/erfnet_camvid.py --training            beside MMSegmentation's own pipeline
    ... --training --scaling                                                 over batch, workers, size and processes

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
    parser.add_argument('--rounds', type=int, help='turns of each row (default: 10, of 5 runs each; with --training 3, '
                        'of 2 iterations)')
    parser.add_argument('--rows', nargs='+', choices=ROWS, default=ROWS, help='what to measure (default: all)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures there, too')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='load a checkpoint that holds more than data; it may run code of whoever wrote it')
    parser.add_argument('--training', action='store_true', help='measure training, at the size and batch of the config')
    parser.add_argument('--scaling', action='store_true', help='with --training: over batch, workers, size, processes')
    cli.add_config_options(parser)
    args = parser.parse_args()

    from mmseg_erfnet.engine.launch import load_config

    cfg = load_config(args.config, options=args.cfg_options)
    if args.training:
        from mmseg_erfnet.engine import benchmark as training

        if args.scaling:
            result = training.benchmark_scaling(cfg, args.threads)
            print(training.scaling_table(result))
        else:
            result = training.benchmark_training(cfg, args.threads, args.rounds or 3)
            print(training.training_table(result))
    else:
        with export_packages():
            from mmseg_erfnet.deploy.benchmark import benchmark, table

        result = benchmark(cfg, args.checkpoint, args.sizes, args.batch, args.threads, args.rounds or 10, args.rows,
                           args.trust_checkpoint)
        print(table(result))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1))


if __name__ == '__main__':
    cli.run(main)
