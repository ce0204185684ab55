"""Write the page, the model and the runtime into a folder that any file server can serve."""

import hashlib
import json
from pathlib import Path

from mmseg_erfnet.configs import shipped_file
from mmseg_erfnet.deploy.metadata import read_files
from mmseg_erfnet.deploy.runtime import Predictor
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.files import write_bytes, write_json
from mmseg_erfnet.web.runtime import VERSION, runtime_files

PAGE = Path(__file__).parent / 'page'
SHIPPED = 'erfnet_camvid11_trainval.onnx'
# Marks a folder as written by this command; written first, so that an interrupted build can be repeated.
DESCRIPTION = 'model.json'


def default_model() -> Path:
    """Return the shipped model.

    Raises:
        UsageError: It is not there.
    """
    found = shipped_file(SHIPPED)
    if found is not None:
        return found
    raise UsageError(f'The package contains no {SHIPPED}: name a model written by export --format onnx.')


def build_site(model: str | Path, out: str | Path, runtime: str | Path | None = None) -> Path:
    """Write a static page that runs a model in the visitor's browser.

    Args:
        model: An exported ``.onnx`` that outputs labels.
        out: Folder for the page: new, empty, or with an earlier page.
        runtime: Folder with an unpacked onnxruntime-web; see :func:`mmseg_erfnet.web.runtime.runtime_files`.

    Returns:
        The page, ``index.html``.

    Raises:
        UsageError: The model or the runtime cannot be used, or the folder contains other files.
        StorageError: The folder cannot be written.
    """
    model, out = Path(model), Path(out)
    if model.suffix != '.onnx':
        raise UsageError(f'The page runs a model in the ONNX format: got {model}. Export one with --format onnx.')
    description, content = _describe(model)
    _check_folder(out)
    files = runtime_files(runtime)
    write_json(out / DESCRIPTION, description)
    write_bytes(out / 'model.onnx', content)
    for name, data in files.items():
        write_bytes(out / 'runtime' / name, data)
    # index.html comes last, when everything that it loads is there.
    for path in sorted(PAGE.iterdir(), key=lambda path: path.name == 'index.html'):
        write_bytes(out / path.name, path.read_bytes())
    return out / 'index.html'


def _describe(model: Path) -> tuple[dict, bytes]:
    """Return the description of a model for the page, and the content of the model."""
    predictor = Predictor(model, threads=1)
    if predictor.output != 'labels' or predictor.metadata['batch'] not in (None, 1):
        raise UsageError(f'{model} is not for single frames and labels: export it with --output labels and no --batch.')
    content = read_files(model)['.onnx']
    description = dict(
        written_by='mmseg-erfnet web',
        name=model.stem,
        classes=predictor.classes,
        palette=predictor.palette,
        size=predictor.size,
        seen=predictor.metadata.get('resize'),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        runtime=VERSION,
    )
    return description, content


def _check_folder(out: Path) -> None:
    if out.is_file():
        raise UsageError(f'{out} is a file: name a folder for the page.')
    try:
        ours = json.loads((out / DESCRIPTION).read_bytes())['written_by'] == 'mmseg-erfnet web'
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if out.is_dir() and any(out.iterdir()) and not ours:
        raise UsageError(f'{out} contains files that this command did not write: name a new or an empty folder.')
