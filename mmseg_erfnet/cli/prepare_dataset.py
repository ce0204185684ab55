"""Check your own data, exported by a labelling tool, and convert them to the layout that the configs read.

    python tools/prepare_dataset.py export.zip --out data/streets
    python tools/prepare_dataset.py ~/export --out data/streets --classes road,car,person      masks without a list
    python tools/prepare_dataset.py ~/export --out data/streets --ignore void                  ignore a class

SOURCE is a folder or an archive (zip, tar, tgz) in one of these formats:
    CVAT             "Segmentation mask 1.1" or "CamVid 1.0", exported with "Save images"
    labelme          its JSON files next to the images, or the output of labelme2voc
    Roboflow         "Semantic Segmentation Masks"
    Kaggle, fast.ai  class_dict.csv, or codes.txt and valid.txt
    folders          images/ and masks/ with the same names, or x.jpg next to x_mask.png; masks contain indices, a
                     palette or colours; a classes.csv with the header name,r,g,b or name,value defines them

If the source has splits (folders, lists, a column `split`), they are kept. Otherwise they are drawn at random; groups
named by folders or a column `group` stay together. Writes images/ labels/ classes.csv splits/ into OUT, and a config
for training on them, configs/NAME.py in the current folder. A second run changes nothing.
"""

from collections.abc import Sequence
from pathlib import Path

from mmseg_erfnet.cli.common import make_parser, tool
from mmseg_erfnet.errors import UserError
from mmseg_erfnet.mmseg_import import require_mmseg


@tool
def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument('source', type=Path, help='folder or archive with the data')
    parser.add_argument(
        '--out', type=Path, required=True, help='folder to create; its name becomes the name of the config'
    )
    parser.add_argument(
        '--classes', metavar='NAMES', help='names separated by commas, or a file that lists the classes (csv, txt)'
    )
    parser.add_argument('--ignore', nargs='+', default=[], metavar='NAME', help='classes to ignore')
    parser.add_argument('--seed', type=int, default=0, help='seed for drawing the split (default: %(default)s)')
    parser.add_argument(
        '--unknown',
        choices=('error', 'ignore'),
        default='error',
        help="'ignore' sets pixels to 255 whose value or colour does not belong to a class",
    )
    parser.add_argument(
        '--orientation',
        choices=('auto', 'shown', 'stored'),
        default='auto',
        help='for photos with an EXIF rotation: whether labels were drawn on the photo as shown or as stored',
    )
    parser.add_argument(
        '--duplicates',
        choices=('error', 'drop'),
        default='error',
        help="'drop' removes frames from train that are also in val or test, and frames that are in both val and test "
        'from the larger of the two',
    )
    args = parser.parse_args(argv)

    require_mmseg()
    from mmseg_erfnet.datasets.preparation import check_config, config_path, prepare_dataset, write_config

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
            check=lambda classes: check_config(path, args.out, len(classes.names)),
        )
        print(prepared)
        print(write_config(prepared, path))
    except KeyboardInterrupt:
        raise UserError(f'interrupted; the same command prepares {args.out} from the start') from None
