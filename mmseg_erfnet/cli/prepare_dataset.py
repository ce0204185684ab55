"""Check one's own data, as a labelling tool exported them, and bring them into the layout that the configs read.

    python tools/prepare_dataset.py export.zip --out data/streets
    python tools/prepare_dataset.py ~/export --out data/streets --classes road,car,person      masks without a list
    python tools/prepare_dataset.py ~/export --out data/streets --ignore void                  pixels that do not count

SOURCE is a folder or an archive (zip, tar, tgz) of one of these:
    CVAT             "Segmentation mask 1.1" or "CamVid 1.0", exported with "Save images"
    labelme          its JSON files beside the images, or what labelme2voc makes of them
    Roboflow         "Semantic Segmentation Masks"
    Kaggle, fast.ai  class_dict.csv, or codes.txt and valid.txt
    folders          images/ and masks/ with the same names, or x.jpg beside x_mask.png; masks hold indices, a palette
                     or colours; a classes.csv with the header name,r,g,b or name,value says what they are
Splits are kept where the source has them (folders, lists, a column `split`), else drawn, whole groups at a time where
folders or a column `group` name them. The folder OUT holds images/ labels/ classes.csv splits/ afterwards, and
configs/NAME.py of the current folder trains on it. A second run changes nothing.
"""

import signal
from collections.abc import Sequence
from pathlib import Path

from mmseg_erfnet.cli.common import make_parser, tool
from mmseg_erfnet.errors import UserError
from mmseg_erfnet.mmseg_import import require_mmseg


@tool
def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument('source', type=Path, help='folder or archive that the data are in')
    parser.add_argument('--out', type=Path, required=True, help='folder to make; its name becomes that of the config')
    parser.add_argument('--classes', metavar='NAMES', help='names with commas, or a list of classes (csv, txt)')
    parser.add_argument('--ignore', nargs='+', default=[], metavar='NAME', help='classes whose pixels do not count')
    parser.add_argument('--seed', type=int, default=0, help='of a split that is drawn (default: %(default)s)')
    parser.add_argument(
        '--unknown',
        choices=('error', 'ignore'),
        default='error',
        help="'ignore' leaves pixels out whose value or colour is no class",
    )
    parser.add_argument(
        '--orientation',
        choices=('auto', 'shown', 'stored'),
        default='auto',
        help='what labels were drawn on where a photo says by EXIF that it is to be turned',
    )
    parser.add_argument(
        '--duplicates',
        choices=('error', 'drop'),
        default='error',
        help="'drop' takes frames off train that are in val or test, too",
    )
    args = parser.parse_args(argv)

    require_mmseg()
    from mmseg_erfnet.datasets.preparation import config_path, prepare_dataset, write_config

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it, too, leaves nothing half-done
    try:
        path = config_path(args.out)
        prepared = prepare_dataset(
            args.source,
            args.out,
            args.classes,
            args.ignore,
            args.seed,
            args.unknown,
            args.orientation,
            args.duplicates,
        )
        print(prepared)
        print(write_config(prepared, path))
    except KeyboardInterrupt:
        raise UserError(f'interrupted; the same command prepares {args.out} from the start') from None
