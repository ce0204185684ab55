"""Measure speed: latency of inference in every installed backend, or throughput of training.

    python tools/benchmark.py inference configs/erfnet_camvid11.py best.pth --size 360x480 256x256
    python tools/benchmark.py inference configs/erfnet_camvid11.py best.pth --rows openvino-int8 --json benchmark.json
    python tools/benchmark.py formats configs/erfnet_camvid11.py best.pth deployed/*.xml deployed/*.onnx     on val
    python tools/benchmark.py networks configs/erfnet_camvid11.py             compared with other networks
    python tools/benchmark.py training configs/erfnet_camvid.py               compared with MMSegmentation's pipeline
    python tools/benchmark.py training configs/erfnet_camvid.py --scaling     over batch, workers, size and processes
    python tools/benchmark.py training configs/erfnet_camvid.py --overhead    CPU time of an iteration, by part

The result is a table in Markdown. The measurements of all rows are interleaved, so compare only rows of the same run.
Each row of `inference` gives the median and the 90th percentile of the latency from a uint8 frame to uint8 labels, and
the latency of the network alone. "Of the limit" is the time that the multiply-accumulates would take at the best
throughput that this machine reached in that precision, divided by the time measured.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from mmseg_erfnet.benchmarks import ROWS
from mmseg_erfnet.cli.common import (
    add_config_options,
    add_trust_checkpoint,
    given,
    make_parser,
    parse_options,
    parse_size,
    tool,
)
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.files import check_targets, write_json
from mmseg_erfnet.mmseg_import import export_packages, require_mmseg


@tool
def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    verbs = parser.add_subparsers(dest='what', required=True, metavar='{inference,formats,networks,training}')
    inference = verbs.add_parser('inference', help='latency of a model in every backend that is installed')
    inference.add_argument('config', help='config file')
    inference.add_argument('checkpoint', nargs='?', help='checkpoint file (default: random weights)')
    inference.add_argument(
        '--size',
        nargs='+',
        type=parse_size,
        default=[(360, 480)],
        metavar='HxW',
        dest='sizes',
        help='sizes of the frames',
    )
    inference.add_argument('--batch', type=int, default=1, metavar='N', help='frames per batch (default: 1)')
    inference.add_argument('--rows', nargs='+', choices=ROWS, default=ROWS, help='rows to measure (default: all)')
    inference.add_argument(
        '--models', nargs='+', default=(), metavar='MODEL', help='exported models to measure as well'
    )
    inference.add_argument('--rounds', type=int, default=10, help='rounds per row, of 5 runs each (default: 10)')
    add_trust_checkpoint(inference)
    formats = verbs.add_parser(
        'formats', help='exported models compared with PyTorch: labels, mIoU on val, latency, size'
    )
    formats.add_argument('config', help='config file')
    formats.add_argument('checkpoint', help='checkpoint file that the models were exported from')
    formats.add_argument('models', nargs='+', metavar='MODEL', help='exported models')
    formats.add_argument('--images', type=int, metavar='N', help='use only N validation images, evenly spaced')
    add_trust_checkpoint(formats)
    networks = verbs.add_parser('networks', help='latency of ERFNet and of other real-time networks, in OpenVINO')
    networks.add_argument('config', help='config file')
    networks.add_argument('--size', type=parse_size, default=(360, 480), metavar='HxW', help='size of the frames')
    networks.add_argument('--rounds', type=int, default=10, help='rounds per row, of 5 runs each (default: 10)')
    training = verbs.add_parser('training', help='images per second of training, at the size and batch of the config')
    training.add_argument('config', help='config file')
    training.add_argument('--scaling', action='store_true', help='vary batch, workers, size and processes instead')
    training.add_argument('--overhead', action='store_true', help='profile what an iteration costs beyond the network')
    training.add_argument('--rounds', type=int, help='rounds per row, of 2 iterations each (default: 3)')
    for verb in (inference, formats, networks, training):
        verb.add_argument('--threads', type=int, metavar='N', help='CPU threads (default: all cores)')
        verb.add_argument('--json', type=Path, metavar='FILE', help='also write the results to FILE')
        add_config_options(verb)
    args = parser.parse_args(argv)

    _check_arguments(args)
    require_mmseg()
    result, text = dict(inference=_inference, formats=_formats, networks=_networks, training=_training)[args.what](args)
    print(text)
    if args.json:
        write_json(args.json, result)


def _check_arguments(args: argparse.Namespace) -> None:
    if args.what == 'training':
        given(args.rounds, '--rounds', not args.scaling and not args.overhead, 'with --scaling and --overhead')
        given(args.threads, '--threads', not args.overhead, 'with --overhead, which uses one')
    elif args.what != 'networks':
        given(args.trust_checkpoint, '--trust-checkpoint', args.checkpoint is not None, 'without a checkpoint')
    for name in ('rounds', 'batch', 'threads', 'images'):
        value = getattr(args, name, None)
        if value is not None and value < 1:
            raise UsageError(f'--{name} must be 1 or more: got {value}.')
    if args.json:
        inputs = [args.config, *filter(None, [getattr(args, 'checkpoint', None)]), *getattr(args, 'models', ())]
        check_targets([args.json], inputs, _is_result, 'json')


def _is_result(path: Path) -> bool:
    """Return whether a file is the JSON of an earlier benchmark."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    point = found[0] if isinstance(found, list) and found else found
    return isinstance(point, dict) and bool({'threads', 'fps', 'iterations'} & point.keys())


def _inference(args: argparse.Namespace) -> tuple[dict, str]:
    with export_packages():
        from mmseg_erfnet.benchmarks.inference import benchmark, table
    from mmseg_erfnet.engine.launch import load_config

    cfg = load_config(args.config, options=parse_options(args.cfg_options))
    result = benchmark(
        cfg,
        args.checkpoint,
        args.sizes,
        args.batch,
        args.threads,
        args.rounds,
        args.rows,
        args.trust_checkpoint,
        models=args.models,
    )
    return result, table(result)


def _formats(args: argparse.Namespace) -> tuple[dict, str]:
    with export_packages():
        from mmseg_erfnet.benchmarks.formats import formats_table, measure_formats
    from mmseg_erfnet.engine.launch import load_config

    cfg = load_config(args.config, options=parse_options(args.cfg_options))
    result = measure_formats(cfg, args.checkpoint, args.models, args.images, args.threads, args.trust_checkpoint)
    return result, formats_table(result)


def _networks(args: argparse.Namespace) -> tuple[dict, str]:
    with export_packages():
        from mmseg_erfnet.benchmarks.networks import benchmark_networks, networks_table
    from mmseg_erfnet.engine.launch import load_config

    cfg = load_config(args.config, options=parse_options(args.cfg_options))
    result = benchmark_networks(cfg, args.size, args.threads, args.rounds)
    return result, networks_table(result)


def _training(args: argparse.Namespace) -> tuple[dict | list, str]:
    from mmseg_erfnet.benchmarks import overhead, training
    from mmseg_erfnet.engine.launch import load_config

    cfg = load_config(args.config, options=parse_options(args.cfg_options))
    if args.overhead:
        result = overhead.benchmark_overhead(cfg)
        return result, overhead.overhead_table(result)
    if args.scaling:
        points = training.benchmark_scaling(cfg, args.threads)
        return points, training.scaling_table(points)
    result = training.benchmark_training(cfg, args.threads, 3 if args.rounds is None else args.rounds)
    return result, training.training_table(result)
