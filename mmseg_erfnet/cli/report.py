"""Write the results in a work dir as one HTML file: scores, mistakes, curves, config, environment.

    python tools/report.py work_dirs/erfnet_camvid
    python tools/report.py work_dirs/erfnet_camvid --out report.html

Training and tools/test.py write the same report automatically; use this to write it again, for instance during
training. The file opens from disk and needs no network.
"""

from collections.abc import Sequence
from pathlib import Path

from mmseg_erfnet.cli.common import make_parser, tool
from mmseg_erfnet.mmseg_import import require_mmseg


@tool
def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument('work_dir', type=Path, help='work dir of tools/train.py or tools/test.py')
    parser.add_argument('--out', type=Path, metavar='FILE', help='file to write (default: report.html in the work dir)')
    args = parser.parse_args(argv)

    require_mmseg()
    from mmseg_erfnet.reports.run import write_run_report

    print(write_run_report(args.work_dir, args.out))
