"""Predict images, folders, videos, cameras and streams.

    python tools/predict.py photo.jpg                                 with the model that comes with the package
    python tools/predict.py erfnet.xml frames/ --out predicted        a folder; run it again to continue
    python tools/predict.py erfnet.xml drive.mp4                      a video; also a camera (0) or a stream (rtsp://...)
    python tools/predict.py erfnet.xml 'frames/*_left.png' --write labels
    python tools/predict.py configs/erfnet_camvid11.py best.pth frames/             without an export
    ... --scale 1.25              with a config and checkpoint: a larger input, more accurate, slower
    ... --shard 3/8               the third of eight shards

MODEL is a file written by tools/export.py, or a config and a checkpoint; it is recognised by its suffix. Results are
label maps (PNG, the grey value is the class id), painted pictures with a legend, and, for videos and cameras, a painted
video that plays in browsers. An existing result of the same input and model is kept; any other existing file is never
replaced. Inputs that cannot be read completely are listed at the end, and the exit status is then 1. Ctrl-C stops a
camera or a video; the part that is already written is kept.
"""

import argparse
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import PurePath

import cv2

from mmseg_erfnet.cli.common import add_model_options, given, make_parser, read_config, tool
from mmseg_erfnet.deploy import Predictor
from mmseg_erfnet.deploy.backends import BACKENDS
from mmseg_erfnet.deploy.predict import CONTENTS, Result, predict
from mmseg_erfnet.deploy.shipped import default_model
from mmseg_erfnet.deploy.sources import find_sources
from mmseg_erfnet.deploy.video import CODECS
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.files import shown
from mmseg_erfnet.mmseg_import import require_mmseg
from mmseg_erfnet.signals import leave
from mmseg_erfnet.text import listed

CHECKPOINT_SUFFIXES = ('.pth', '.pt', '.ckpt')
SHOWN = 10  # paths
NAMED = 100  # failures


@tool
def main(argv: Sequence[str] | None = None) -> None:
    args = _parser().parse_args(argv)
    # A damaged file or a missing camera is reported in a sentence of our own instead.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    model, inputs = split_words(args.words)
    if not inputs:
        raise UsageError(
            'There is no input: give an image, a folder, a pattern, a video, an address or a camera number.'
        )
    _check_options(model, args)
    sources = find_sources(inputs)  # report a wrong name before loading a model
    # The result of a single image, or of a camera, is wanted soon; otherwise, throughput counts.
    at_once = any(source.kind == 'live' for source in sources) or [source.kind for source in sources] == ['image']
    predictor = _predictor(model, args, side_by_side=not at_once)
    with _Stop() as stop:
        result = predict(
            predictor,
            inputs,
            args.out,
            args.write,
            args.overwrite,
            args.shard,
            args.max_frames,
            args.every,
            args.codec,
            stop.asked,
        )
        _end(result, stop, args.out)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    parser.add_argument(
        'words',
        nargs='+',
        metavar='[MODEL | CONFIG CHECKPOINT] INPUT',
        help='exported model, or config and checkpoint (default: the model that comes with the package); then images, '
        'folders, patterns, videos, addresses or camera numbers',
    )
    parser.add_argument('--out', default='predicted', metavar='DIR', help='folder for the results (default: predicted)')
    parser.add_argument(
        '--write',
        nargs='+',
        choices=CONTENTS,
        default=(),
        help='what to write (default: labels and painted; for videos and cameras: video)',
    )
    parser.add_argument('--overwrite', action='store_true', help='predict again where there are results already')
    parser.add_argument(
        '--shard', type=_shard, default=(1, 1), metavar='K/N', help='predict only shard K of N of the inputs'
    )
    parser.add_argument('--max-frames', type=int, metavar='N', help='stop a video or a camera after N frames')
    parser.add_argument(
        '--every',
        type=int,
        default=1,
        metavar='N',
        help='predict every N-th frame of a video or a camera, and repeat its labels in between',
    )
    parser.add_argument(
        '--codec',
        choices=tuple(CODECS),
        help='codec of painted videos (default: h264 if PyAV is installed, else vp8; both play in browsers; without '
        'PyAV, mp4v is the fastest)',
    )
    parser.add_argument('--device', help="device of the model's backend (default: CPU)")
    parser.add_argument('--threads', type=int, help='CPU threads (default: all cores)')
    parser.add_argument(
        '--precision',
        choices=('f32', 'bf16'),
        help='precision of an OpenVINO model (default: f32; for an int8 model, bf16 if the CPU supports it)',
    )
    parser.add_argument(
        '--scale',
        type=float,
        metavar='FACTOR',
        help='scale the input of the network, as tools/export.py does; for a config and checkpoint (default: 1)',
    )
    add_model_options(parser)
    return parser


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate the model, recognised by its suffix, from the inputs.

    Returns:
        The model (nothing, its file, or config and checkpoint), and the inputs.

    Raises:
        UsageError: There are two models, a config without a checkpoint, or a checkpoint without a config.
    """
    suffixes = [PurePath(word).suffix.lower() for word in words]
    kinds = [
        'model'
        if suffix in BACKENDS
        else 'config'
        if suffix == '.py'
        else 'checkpoint'
        if suffix in CHECKPOINT_SUFFIXES
        else 'input'
        for suffix in suffixes
    ]
    number = next((index for index, kind in enumerate(kinds) if kind == 'input'), len(kinds))
    first = kinds[:number]
    if first in ([], ['model'], ['config', 'checkpoint']) and set(kinds[number:]) <= {'input'}:
        return list(words[:number]), list(words[number:])
    found = listed(shown(word) for word, kind in zip(words, kinds, strict=True) if kind != 'input')
    raise UsageError(
        f'A model is one file ({", ".join(BACKENDS)}), or a config (.py) and its checkpoint (.pth), before the inputs: '
        f'got {found}.'
    )


def _check_options(model: list[str], args: argparse.Namespace) -> None:
    """Refuse options that have no effect on this kind of model."""
    exported = len(model) < 2
    given(args.cfg_options, '--cfg-options', not exported, 'on an exported model, whose config is inside')
    given(args.trust_checkpoint, '--trust-checkpoint', not exported, 'on an exported model')
    given(args.scale, '--scale', not exported, 'on an exported model, which tools/export.py --scale has scaled')
    openvino = exported and (not model or PurePath(model[0]).suffix == '.xml')
    given(args.precision, '--precision', openvino, 'except on an OpenVINO model (.xml)')


def _predictor(model: list[str], args: argparse.Namespace, side_by_side: bool) -> Predictor:
    if len(model) < 2:
        path = model[0] if model else default_model()
        return Predictor(path, args.device or 'CPU', args.threads, args.precision, side_by_side)
    require_mmseg()
    from mmseg_erfnet.engine.config_file import require_entries
    from mmseg_erfnet.export.torch_backend import torch_predictor

    cfg = read_config(model[0], args)
    require_entries(cfg, 'prediction', 'model')
    _check_segmentor(cfg, model[0])
    return torch_predictor(
        cfg, model[1], args.device, args.threads, args.trust_checkpoint, 1.0 if args.scale is None else args.scale
    )


def _check_segmentor(cfg, name: str) -> None:
    """Refuse models without a single decode head that computes logits from the backbone's features."""
    kind = str(cfg.get('model', {}).get('type', '')).rpartition('.')[2]
    heads = cfg.get('model', {}).get('decode_head')
    if kind != 'EncoderDecoder' or isinstance(heads, (list, tuple)):
        raise UsageError(
            f'predict runs an EncoderDecoder with one decode head, but {name} has a {kind or "model without a type"}: '
            "use MMSegmentation's own tools for it."
        )


class _Stop:
    """Handle Ctrl-C and SIGTERM: the first finishes the file that is being written, the second exits at once."""

    def __init__(self) -> None:
        self.number = 0

    def __enter__(self) -> '_Stop':
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        if self.number:
            leave(number)
        self.number = number

    def asked(self) -> bool:
        return bool(self.number)


def _end(result: Result, stop: _Stop, out: str) -> None:
    # Files written go to stdout, for the next command of a pipe; errors go to stderr.
    for path in result.pictures[:SHOWN]:
        print(shown(path))
    if len(result.pictures) > SHOWN:
        print(f'and {len(result.pictures) - SHOWN} more in {shown(out)}')
    failures = result.failures
    if failures:
        head = '' if len(failures) == 1 else f'{len(failures)} inputs could not be predicted completely:\n'
        more = f'\nand {len(failures) - NAMED} more' if len(failures) > NAMED else ''
        message = f'error: {head}' + '\n'.join(failures[:NAMED]) + more
    if result.stopped:
        if failures:
            print(message, file=sys.stderr)
        name = signal.Signals(stop.number).name if stop.number else 'a signal'
        print(f'Stopped by {name}; run the same command again to continue.', file=sys.stderr, flush=True)
        sys.stdout.flush()
        leave(stop.number)
    if failures:
        sys.exit(message)


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r'(\d+)/(\d+)', text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f'a share is K/N with K from 1 to N, as in 3/8: got {text!r}')
    return int(match[1]), int(match[2])
