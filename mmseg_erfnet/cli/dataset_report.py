"""Report on a config's data: classes, sizes, samples, augmentations, and class weights for the loss.

    python tools/dataset_report.py configs/erfnet_camvid.py --out reports/camvid
    ... --cfg-options train_dataloader.dataset.data_root=/data/camvid

Writes report.html, its pictures, and the class weights as two files that a config can use as bases:
class_weights_log.py with 1 / ln(c + p), and class_weights_median.py with median frequency balancing.
"""

from collections.abc import Sequence
from pathlib import Path

from mmseg_erfnet.cli.common import add_config_options, make_parser, parse_options, tool
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.mmseg_import import require_mmseg


@tool
def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='folder to write to')
    parser.add_argument('--workers', type=int, help='threads that read labels (default: one per core)')
    parser.add_argument(
        '--c', type=float, default=1.1, help='c of the weights 1 / ln(c + p) (default: 1.1; ENet uses 1.02)'
    )
    add_config_options(parser)
    args = parser.parse_args(argv)
    if args.workers is not None and args.workers < 1:
        raise UsageError(f'--workers is {args.workers}; it takes at least one.')
    if not 1 < args.c < float('inf'):
        raise UsageError(f'--c is {args.c:g}; above 1 the weights 1 / ln(c + p) are positive.')

    require_mmseg()
    from mmseg_erfnet.engine.launch import load_config
    from mmseg_erfnet.reports.dataset import write_dataset_report

    cfg = load_config(args.config, options=parse_options(args.cfg_options))
    classes, weights = write_dataset_report(cfg, args.out, workers=args.workers, c=args.c)
    print(f'{"class":20} {f"1/ln({args.c:g}+p)":>14} {"median freq.":>14}')
    for name, log, median in zip(classes, weights['log'], weights['median'], strict=True):
        print(f'{name:20} {log:14.4f} {median:14.4f}')
    print(f'Report: {args.out / "report.html"}')
