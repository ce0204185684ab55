"""Export a model that takes frames, returns labels and runs without PyTorch.

    python tools/export.py configs/erfnet_camvid11.py best.pth --out deployed                            OpenVINO
    python tools/export.py configs/erfnet_camvid11.py work_dirs/erfnet_camvid11 --out deployed           best of a run
    ... --format onnx openvino ncnn litert                         also for ONNX Runtime, phones and browsers
    ... --int8                                                     also in int8 (all but ncnn), scored on the data
    ... --size 360x480 --batch 1                                   fixed size and batch instead of dynamic ones
    ... --scale 1.25                                               input 448x600, not 360x480: more accurate, slower
    ... --output logits                                            logits or probabilities instead of labels

The exported model includes the colour conversion, mean, std, the config's resize and the argmax. It is compared with
PyTorch before it is kept. `tools/predict.py` and mmseg_erfnet.deploy.Predictor run it.
"""

from collections.abc import Sequence

from mmseg_erfnet.cli.common import add_model_options, given, make_parser, parse_size, read_config, tool
from mmseg_erfnet.mmseg_import import export_packages, require_mmseg


@tool
def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint', nargs='+', help='checkpoint file, or the work dir of a run, whose best checkpoint is exported'
    )
    parser.add_argument('--out', required=True, metavar='DIR', help='folder for the models')
    parser.add_argument(
        '--format', nargs='+', choices=('onnx', 'openvino', 'ncnn', 'litert'), default=['openvino'], dest='formats'
    )
    parser.add_argument('--output', choices=('labels', 'logits', 'probabilities'), default='labels')
    parser.add_argument('--size', type=parse_size, metavar='HxW', help='fix the size of the frames')
    parser.add_argument('--batch', type=int, metavar='N', help='fix the number of frames')
    parser.add_argument(
        '--scale',
        type=float,
        default=1.0,
        metavar='FACTOR',
        help='scale the input of the network; 1.25, for instance, is more accurate and slower (default: 1)',
    )
    parser.add_argument(
        '--int8',
        action='store_true',
        help='also write the models in int8 (not for ncnn)',
    )
    parser.add_argument(
        '--max-drop',
        type=float,
        metavar='POINTS',
        help='largest loss of mIoU accepted for int8; a model that loses more is not kept (default: 0.3)',
    )
    add_model_options(parser)
    args = parser.parse_args(argv)

    given(args.max_drop, '--max-drop', args.int8, 'without --int8')
    require_mmseg()
    with export_packages():
        from mmseg_erfnet.export.exporter import export
    from mmseg_erfnet.engine.runs import checkpoint_to_test

    checkpoint = checkpoint_to_test(*args.checkpoint)
    if [checkpoint] != args.checkpoint:
        print(f'Exporting {checkpoint}')
    files = export(
        read_config(args.config, args),
        checkpoint,
        args.out,
        args.formats,
        args.output,
        args.size,
        args.batch,
        args.int8,
        0.3 if args.max_drop is None else args.max_drop,
        args.trust_checkpoint,
        scale=args.scale,
    )
    print('Written:', ', '.join(map(str, files)))
