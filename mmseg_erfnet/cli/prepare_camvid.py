"""Check CamVid and convert it to the layout that the configs read.

    python tools/prepare_camvid.py ~/downloads --out data/camvid              the two official archives, or unpacked
    python tools/prepare_camvid.py ~/CamVid --out data/camvid                 train/ train_labels/ ..., or trainannot/
    python tools/prepare_camvid.py data/archives --out data/camvid --download    fetch the archives there first, 580 MB

SOURCE may contain the archives of the official page (701_StillsRaw_full.zip, LabeledApproved_full.zip), packed or
unpacked; the common folders train/ train_labels/ val/ val_labels/ test/ test_labels/ (Kaggle); SegNet's train/
trainannot/ ... with indexed labels; or fast.ai's camvid.tgz. A subset of the 701 frames is fine. A second run changes
nothing. A different split for a folder that is already prepared is refused.
"""

from collections.abc import Sequence
from pathlib import Path

from mmseg_erfnet.cli.common import given, make_parser, tool
from mmseg_erfnet.errors import UserError
from mmseg_erfnet.mmseg_import import require_mmseg


@tool
def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument('source', type=Path, help='folder or archive with CamVid')
    parser.add_argument('--out', type=Path, default=Path('data/camvid'), help='folder to create (default: %(default)s)')
    parser.add_argument(
        '--split',
        choices=('auto', 'standard', 'random', 'source'),
        default='auto',
        help="standard: SegNet's 367/101/233, as in the literature; random: 128 of 701 drawn for validation; source: "
        'given by the folders or lists; auto: that of the source, else the standard one (default: %(default)s)',
    )
    parser.add_argument('--seed', type=int, help='seed of the random split (default: 0)')
    parser.add_argument(
        '--unknown',
        choices=('error', 'ignore'),
        default='error',
        help="'ignore' accepts labels with colours that are not CamVid's",
    )
    parser.add_argument(
        '--orientation',
        choices=('auto', 'shown', 'stored'),
        default='auto',
        help='for frames with an EXIF rotation: whether labels were drawn on the frame as shown or as stored',
    )
    parser.add_argument('--download', action='store_true', help='fetch the official archives into SOURCE first')
    args = parser.parse_args(argv)

    given(args.seed, '--seed', args.split == 'random', 'without --split random')
    require_mmseg()
    from mmseg_erfnet.datasets.preparation import download_camvid, prepare_camvid

    try:
        if args.download:
            download_camvid(args.source)
        print(prepare_camvid(args.source, args.out, args.split, args.seed or 0, args.unknown, args.orientation))
    except KeyboardInterrupt:
        raise UserError(f'interrupted; {args.out} was left unchanged') from None
