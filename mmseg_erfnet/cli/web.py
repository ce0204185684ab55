"""Write a static page that runs a model in the browser, on pictures, videos or the webcam.

    mmseg-erfnet web model.onnx --out site                       then: python -m http.server --directory site
    mmseg-erfnet web model.onnx --out site --runtime node_modules/onnxruntime-web       without npm

MODEL is a file written by `export --format onnx`. ONNX Runtime Web is fetched once with `npm pack`, verified by its
hash and cached. The page loads nothing from other servers, and no picture leaves the browser.
"""

from collections.abc import Sequence
from pathlib import Path

from mmseg_erfnet.cli.common import make_parser, tool
from mmseg_erfnet.web.site import build_site, default_model


@tool
def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument('model', nargs='?', metavar='MODEL', help='exported model, .onnx (default: the shipped one)')
    parser.add_argument('--out', required=True, type=Path, metavar='DIR', help='folder for the page')
    parser.add_argument('--runtime', type=Path, metavar='DIR', help='unpacked onnxruntime-web to use instead of npm')
    args = parser.parse_args(argv)
    page = build_site(args.model or default_model(), args.out, args.runtime)
    print(f'{page} was written. Serve it over HTTP: python -m http.server --directory {page.parent}')
