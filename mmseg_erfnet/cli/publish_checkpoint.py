"""Make a file for release from the checkpoint of a run: weights only, convolutions in float16.

    python tools/publish_checkpoint.py work_dirs/erfnet_camvid11/epoch_130.pth weights/erfnet_camvid11_train.pth

Also writes NAME.log.json next to it, with the losses, learning rates and scores that the run logged. Prints the size
and the SHA-256 for model-index.yml. With --export CONFIG, it also writes the models that run without PyTorch,
NAME_int8.xml (OpenVINO) and NAME.onnx, compares them with PyTorch, and scores int8 on the config's data.
"""

from collections.abc import Sequence
from pathlib import Path

from mmseg_erfnet.cli.common import add_config_options, add_trust_checkpoint, given, make_parser, parse_options, tool
from mmseg_erfnet.mmseg_import import export_packages, require_mmseg


@tool
def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument('source', type=Path, metavar='SRC', help='checkpoint, in the work dir of its run')
    parser.add_argument('target', type=Path, metavar='DST', help='file to write')
    parser.add_argument('--export', metavar='CONFIG', help='also export the models of a release, with this config')
    add_config_options(parser)
    add_trust_checkpoint(parser)
    args = parser.parse_args(argv)

    given(args.cfg_options, '--cfg-options', args.export is not None, 'without --export')
    require_mmseg()
    from mmseg_erfnet.engine.launch import load_config
    from mmseg_erfnet.release import publish

    cfg = args.export and load_config(args.export, options=parse_options(args.cfg_options))
    if cfg:
        with export_packages():
            from mmseg_erfnet.export.exporter import check_release, export_release
        check_release(cfg, str(args.target), args.target.parent)
    print(publish(args.source, args.target, args.trust_checkpoint))
    if cfg:
        for path in export_release(cfg, str(args.target), args.target.parent):
            print(path)
