"""Measure speed: latency of inference in every installed backend, or throughput of training.

    python tools/benchmark.py inference configs/erfnet_camvid11.py best.pth --size 360x480 256x256
    python tools/benchmark.py inference configs/erfnet_camvid11.py best.pth --rows openvino-int8 --json benchmark.json
    python tools/benchmark.py inference deployed/*.xml deployed/*.onnx        exported models, without PyTorch
    python tools/benchmark.py inference erfnet.xml --video drive.mp4          throughput of `predict`, on a video
    python tools/benchmark.py formats configs/erfnet_camvid11.py best.pth deployed/*.xml deployed/*.onnx     on val
    python tools/benchmark.py networks configs/erfnet_camvid11.py             compared with other networks
    python tools/benchmark.py training configs/erfnet_camvid.py               compared with MMSegmentation's pipeline
    python tools/benchmark.py training configs/erfnet_camvid.py --scaling     over batch, workers, size and processes
    python tools/benchmark.py training configs/erfnet_camvid.py --overhead    CPU time of an iteration, by part

The result is a table in Markdown. The measurements of all rows are interleaved, so compare only rows of the same run.
Each row of `inference` gives the median and the 90th percentile of the latency from a uint8 frame to uint8 labels, the
speed as a multiple of the first row on the same device, CPU or CUDA, and the latency of the network alone. "Of the
limit" is the time that the multiply-accumulates would take at the best throughput that this machine reached in that
precision, divided by the median latency from frame to labels.
"""

import argparse
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from types import ModuleType

from mmseg_erfnet.benchmarks import ROWS, exported
from mmseg_erfnet.cli.common import (
    add_config_options,
    add_model_options,
    given,
    make_parser,
    parse_size,
    read_config,
    tool,
)
from mmseg_erfnet.deploy.backends import BACKENDS
from mmseg_erfnet.deploy.shipped import default_model
from mmseg_erfnet.deploy.video import CODECS
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.files import check_targets, folder_for, replacing, shown, write_json, write_text
from mmseg_erfnet.mmseg_import import export_packages, require_mmseg


@tool
def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    verbs = parser.add_subparsers(dest='what', required=True, metavar='{inference,formats,networks,training}')
    inference = verbs.add_parser('inference', help='latency of a model in every backend that is installed')
    _add_inference(inference)
    formats = verbs.add_parser(
        'formats', help='exported models compared with PyTorch: labels, mIoU on val, latency, size'
    )
    formats.add_argument('config', help='config file')
    formats.add_argument('checkpoint', help='checkpoint file that the models were exported from')
    formats.add_argument('models', nargs='+', metavar='MODEL', help='exported models')
    formats.add_argument('--images', type=int, metavar='N', help='use only N validation images, evenly spaced')
    formats.add_argument(
        '--page', type=Path, metavar='FILE', help='also write the table into a page, such as docs/deploy.md'
    )
    add_model_options(formats)
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
    for verb in (networks, training):
        add_config_options(verb)
    args = parser.parse_args(argv)

    _check_arguments(args)
    if args.what != 'inference':
        require_mmseg()
    result, text = dict(inference=_inference, formats=_formats, networks=_networks, training=_training)[args.what](args)
    print(text)
    if args.json:
        write_json(args.json, result)
    if getattr(args, 'page', None):
        # Read again, because the measurement takes minutes.
        write_text(args.page, _formats_module().with_table(_read_page(args.page), result))


def _check_arguments(args: argparse.Namespace) -> None:
    if args.what == 'training':
        given(args.rounds, '--rounds', not args.scaling and not args.overhead, 'with --scaling and --overhead')
        given(args.threads, '--threads', not args.overhead, 'with --overhead, which uses one')
    for name in ('rounds', 'batch', 'threads', 'images'):
        value = getattr(args, name, None)
        if value is not None and value < 1:
            raise UsageError(f'--{name} must be 1 or more: got {value}.')
    if args.json:
        named = [getattr(args, name, None) for name in ('config', 'checkpoint', 'video')]
        inputs = [*filter(None, named), *getattr(args, 'words', ()), *getattr(args, 'models', ())]
        check_targets([args.json], inputs, _is_result, 'json')
        _check_writable(args.json)


class _Rehearsed(Exception):
    """A file could have been written."""


def _check_writable(path: Path) -> None:
    """Write a file up to its renaming, so that no measurement is lost because it cannot be written.

    Raises:
        StorageError: It cannot be written.
    """
    with suppress(_Rehearsed), folder_for(path.parent), replacing(path) as temporary:
        temporary.write_bytes(b'-')
        raise _Rehearsed


def _is_result(path: Path) -> bool:
    """Return whether a file is the JSON of an earlier benchmark."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    point = found[0] if isinstance(found, list) and found else found
    return isinstance(point, dict) and bool({'threads', 'fps', 'iterations', 'ratio'} & point.keys())


def _add_inference(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'words',
        nargs='*',
        metavar='CONFIG [CHECKPOINT] | MODEL',
        help='a config and a checkpoint (default: random weights); or exported models (default with --video: the model '
        'that comes with the package)',
    )
    parser.add_argument('--size', nargs='+', type=parse_size, metavar='HxW', help='sizes of the frames')
    parser.add_argument('--batch', type=int, metavar='N', help='frames per batch (default: 1)')
    parser.add_argument('--rows', nargs='+', choices=ROWS, help='rows to measure (default: all)')
    parser.add_argument(
        '--models', nargs='+', default=(), metavar='MODEL', help='exported models to measure beside the rows'
    )
    parser.add_argument('--rounds', type=int, help='rounds per row, of 5 runs each (default: 10; with --video: 5)')
    parser.add_argument(
        '--video',
        nargs='?',
        const='',
        metavar='CLIP',
        help='compare `predict` on a video with the model alone (default clip: a synthetic street of 480x360)',
    )
    parser.add_argument('--codec', choices=tuple(CODECS), help='codec of the painted video (default: as in predict)')
    add_model_options(parser)


def _inference(args: argparse.Namespace) -> tuple[dict | list, str]:
    kinds = [PurePath(word).suffix in BACKENDS for word in args.words]
    given(args.codec, '--codec', args.video is not None, 'without --video')
    if args.video is not None:
        return _video(args, kinds)
    if args.words and all(kinds):
        for value, option in ((args.rows, '--rows'), (args.cfg_options, '--cfg-options'), (args.models, '--models')):
            given(value or None, option, False, 'on exported models')
        given(args.trust_checkpoint, '--trust-checkpoint', False, 'on exported models')
        result = exported.benchmark_models(
            args.words, args.size or [(360, 480)], args.batch or 1, args.threads, args.rounds or 10
        )
        return result, exported.models_table(result)
    if any(kinds) or not 1 <= len(args.words) <= 2:
        raise UsageError('Give a config, with or without a checkpoint, or one or more exported models.')
    return _config(args, *args.words)


def _config(args: argparse.Namespace, config: str, checkpoint: str | None = None) -> tuple[dict, str]:
    given(args.trust_checkpoint, '--trust-checkpoint', checkpoint is not None, 'without a checkpoint')
    require_mmseg()
    with export_packages():
        from mmseg_erfnet.benchmarks.inference import benchmark, table

    result = benchmark(
        read_config(config, args),
        checkpoint,
        args.size or [(360, 480)],
        args.batch or 1,
        args.threads,
        args.rounds or 10,
        args.rows or ROWS,
        args.trust_checkpoint,
        models=args.models,
    )
    return result, table(result)


def _video(args: argparse.Namespace, kinds: list[bool]) -> tuple[list, str]:
    for name in ('size', 'batch', 'rows', 'trust_checkpoint', 'cfg_options'):
        given(getattr(args, name) or None, f'--{name.replace("_", "-")}', False, 'with --video')
    if not all(kinds):
        raise UsageError('--video measures exported models: give files that tools/export.py wrote, or none.')
    street = []
    if not args.video:
        require_mmseg()
        from mmseg_erfnet.datasets.synthetic_sequence import render_sequence

        frames = render_sequence(exported.VIDEO_SIZE, exported.VIDEO_FRAMES)
        street = [frame for frame, _ in frames]
    results = [
        exported.benchmark_video(
            model, args.video or None, args.threads, args.rounds or 5, codec=args.codec, street=street
        )
        for model in [*args.words, *args.models] or [default_model()]
    ]
    return results, '\n'.join(map(exported.video_line, results))


def _formats(args: argparse.Namespace) -> tuple[dict, str]:
    formats = _formats_module()
    cfg = read_config(args.config, args)
    if args.page:
        _read_page(args.page)
        _check_writable(args.page)
    result = formats.measure_formats(
        cfg, args.checkpoint, args.models, args.images, args.threads, args.trust_checkpoint
    )
    return result, formats.formats_table(result)


def _formats_module() -> ModuleType:
    with export_packages():
        from mmseg_erfnet.benchmarks import formats
    return formats


def _read_page(path: Path) -> str:
    """Return the text of a page for the table of formats.

    Raises:
        UsageError: It cannot be read, is not UTF-8, or lacks the lines between which the table goes.
    """
    formats = _formats_module()
    if not path.is_file():
        raise UsageError(f'There is no page {shown(path)}; give docs/deploy.md.')
    try:
        page = path.read_bytes().decode()
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or 'it is not UTF-8'
        raise UsageError(f'The page {shown(path)} cannot be read ({reason}); give docs/deploy.md.') from error
    if formats.END not in page.partition(formats.BEGIN)[2]:
        raise UsageError(
            f'{shown(path)} has no lines {formats.BEGIN} and {formats.END}, between which the table goes; give '
            'docs/deploy.md.'
        )
    return page


def _networks(args: argparse.Namespace) -> tuple[dict, str]:
    with export_packages():
        from mmseg_erfnet.benchmarks.networks import benchmark_networks, networks_table

    result = benchmark_networks(read_config(args.config, args), args.size, args.threads, args.rounds)
    return result, networks_table(result)


def _training(args: argparse.Namespace) -> tuple[dict | list, str]:
    from mmseg_erfnet.benchmarks import overhead, training

    cfg = read_config(args.config, args)
    if args.overhead:
        result = overhead.benchmark_overhead(cfg)
        return result, overhead.overhead_table(result)
    if args.scaling:
        points = training.benchmark_scaling(cfg, args.threads)
        return points, training.scaling_table(points)
    result = training.benchmark_training(cfg, args.threads, 3 if args.rounds is None else args.rounds)
    return result, training.training_table(result)
