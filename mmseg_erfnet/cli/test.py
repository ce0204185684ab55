"""Score a checkpoint: print the metrics and a table of the classes, and write metrics.json.

python tools/test.py configs/erfnet_camvid.py work_dirs/erfnet_camvid            the best checkpoint of a run
python tools/test.py configs/erfnet_camvid.py work_dirs/erfnet_camvid/best_mIoU_epoch_280.pth
... --tta                                                     average over the image and its horizontal flip
... --tta --tta-scales 0.75 1 1.25                            and over these scales
... --show-dir painted                                        pictures of input, ground truth and prediction
... --cfg-options test_dataloader.dataset.ann_file=splits/test.txt        another split
"""

from collections.abc import Sequence

from mmseg_erfnet.cli.common import add_run_arguments, given, make_parser, parse_options, tool
from mmseg_erfnet.mmseg_import import require_mmseg


@tool
def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint', nargs='+', help='checkpoint file, or the work dir of a run, whose best checkpoint is tested'
    )
    parser.add_argument('--tta', action='store_true', help='test-time augmentation: the mean over flip and scales')
    parser.add_argument('--tta-scales', nargs='+', type=float, metavar='SCALE', help='scales of --tta (default: 1)')
    parser.add_argument('--out', metavar='DIR', help='write the predicted label maps to DIR, as PNG files of class ids')
    parser.add_argument('--show-dir', metavar='DIR', help='write pictures of input, ground truth and prediction to DIR')
    add_run_arguments(parser)
    args = parser.parse_args(argv)

    given(args.tta_scales, '--tta-scales', args.tta, 'without --tta')
    require_mmseg()
    from mmseg_erfnet.engine.launch import evaluate, load_config, score_summary
    from mmseg_erfnet.engine.runs import checkpoint_to_test, work_dir_of_test

    cfg = load_config(args.config, args.work_dir, parse_options(args.cfg_options), args.launcher)
    checkpoint = checkpoint_to_test(*args.checkpoint)
    if checkpoint not in args.checkpoint or len(args.checkpoint) > 1:
        print(f'Testing {checkpoint}')
    if args.work_dir is None:
        cfg.work_dir = work_dir_of_test(cfg, checkpoint)
    scales = args.tta_scales or (1.0,)
    metrics = evaluate(cfg, checkpoint, args.tta, scales, args.out, args.show_dir, args.trust_checkpoint)
    print(score_summary(cfg, metrics, args.out, args.show_dir))
