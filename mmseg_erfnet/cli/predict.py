"""Predict an image, a folder, a video or a camera.

    python tools/predict.py erfnet_camvid11.xml drive/ --out predicted        a folder; run it again to go on
    python tools/predict.py erfnet_camvid11.xml drive.mp4 --out predicted     a video; 0 instead: the first camera
    python tools/predict.py erfnet_camvid11.xml 'drive/*_left.png' --out predicted --write labels
    python tools/predict.py configs/erfnet_camvid11.py best.pth drive/ --out predicted         without an export
    ... --shard 3/8                                                           the third of eight shares

MODEL is a file that tools/export.py wrote (.xml, .onnx), or a config and a checkpoint. Results are label maps (PNG, the
grey value is the class), painted pictures with a legend, and for videos and cameras a painted video. An image that
cannot be read is named at the end; the status is then 1.
"""

import argparse
import re
import sys
from collections.abc import Sequence

from mmseg_erfnet.cli.common import (
    add_config_options,
    add_trust_checkpoint,
    given,
    make_parser,
    parse_options,
    tool,
)
from mmseg_erfnet.deploy import Predictor
from mmseg_erfnet.deploy.predict import CONTENTS, predict
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.mmseg_import import require_mmseg


@tool
def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument('model', nargs='+', metavar='MODEL', help='exported model, or config and checkpoint')
    parser.add_argument('input', metavar='INPUT', help='image, folder, pattern, video, or number of a camera')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder for the results')
    parser.add_argument(
        '--write',
        nargs='+',
        choices=CONTENTS,
        default=(),
        help='what to write (default: labels and painted; of videos and cameras, video)',
    )
    parser.add_argument('--overwrite', action='store_true', help='predict again what is there')
    parser.add_argument('--shard', type=_shard, default=(1, 1), metavar='K/N', help='take a share of the images')
    parser.add_argument('--max-frames', type=int, metavar='N', help='stop a video or a camera after so many frames')
    parser.add_argument('--device', help="device of the model's backend (default: CPU)")
    parser.add_argument('--threads', type=int, help='CPU threads (default: all cores)')
    parser.add_argument('--precision', choices=('f32', 'bf16'), help='of an OpenVINO model (default: see Predictor)')
    add_trust_checkpoint(parser)
    add_config_options(parser)
    args = parser.parse_args(argv)
    failures = predict(_predictor(args), args.input, args.out, args.write, args.overwrite, args.shard, args.max_frames)
    if failures:
        sys.exit('\n'.join([f'{len(failures)} could not be predicted:', *failures]))


def _predictor(args: argparse.Namespace) -> Predictor:
    exported = len(args.model) == 1
    given(args.cfg_options, '--cfg-options', not exported, 'on an exported model, whose config is inside')
    given(args.trust_checkpoint, '--trust-checkpoint', not exported, 'on an exported model')
    given(args.precision, '--precision', exported and args.model[0].endswith('.xml'), 'but on an OpenVINO model (.xml)')
    if exported:
        return Predictor(args.model[0], args.device or 'CPU', args.threads, args.precision)
    if len(args.model) > 2:
        raise UsageError(
            f'A model is one file, or a config and a checkpoint: got {" ".join(args.model)}. A pattern as '
            'input needs quotes.'
        )
    require_mmseg()
    from mmseg_erfnet.engine.launch import load_config
    from mmseg_erfnet.export.torch_backend import torch_predictor

    return torch_predictor(
        load_config(args.model[0], options=parse_options(args.cfg_options)),
        args.model[1],
        args.device,
        args.threads,
        args.trust_checkpoint,
    )


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r'(\d+)/(\d+)', text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f'a share is K/N with K from 1 to N, as in 3/8: got {text!r}')
    return int(match[1]), int(match[2])
