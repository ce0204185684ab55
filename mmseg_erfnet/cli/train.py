"""Train a model and validate it during training.

python tools/train.py configs/erfnet_camvid.py
python tools/train.py configs/erfnet_camvid.py --resume                  continue an interrupted run, or start it
python tools/train.py configs/erfnet_camvid.py --amp --epochs 28         bfloat16, a tenth of the schedule
torchrun --nproc_per_node 4 tools/train.py configs/erfnet_cityscapes.py --launcher pytorch
"""

from collections.abc import Sequence

from mmseg_erfnet import signals
from mmseg_erfnet.cli.common import add_run_arguments, make_parser, parse_options, tool
from mmseg_erfnet.mmseg_import import require_mmseg


@tool
def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--resume',
        nargs='?',
        const=True,
        default=False,
        metavar='CHECKPOINT',
        help='resume the run in the work dir, from its last checkpoint or from CHECKPOINT; start it if there is none',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision: bfloat16, float16 with loss scaling on older GPUs, float32 on a CPU without bfloat16',
    )
    parser.add_argument(
        '--epochs', type=int, help='shorten or stretch the schedule, including the learning rates, to this many epochs'
    )
    add_run_arguments(parser)
    args = parser.parse_args(argv)

    require_mmseg()
    from mmseg_erfnet.engine.checkpointing import state_of_run
    from mmseg_erfnet.engine.launch import load_config, summary, train

    cfg = load_config(args.config, args.work_dir, parse_options(args.cfg_options), args.launcher)
    signals.end_on_signals(lambda: state_of_run(cfg))
    print(summary(train(cfg, args.amp, args.resume, args.epochs, args.trust_checkpoint)))
