"""Write the page, the model and the runtime into a folder that any web server can serve."""

import hashlib
import json
from pathlib import Path

from mmseg_erfnet.configs import shipped_file
from mmseg_erfnet.deploy.metadata import read_files
from mmseg_erfnet.deploy.runtime import Predictor
from mmseg_erfnet.deploy.shipped import FILES
from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.files import check_targets, is_regular, write_bytes, write_json
from mmseg_erfnet.web.runtime import VERSION, runtime_files

PAGE = Path(__file__).parent / 'page'
SHIPPED = FILES['onnxruntime']
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
        UsageError: The model or the runtime cannot be used, or the folder contains other files or edited ones.
        StorageError: The folder cannot be written.
    """
    model, out = Path(model), Path(out)
    if model.suffix != '.onnx':
        raise UsageError(f'The page runs a model in the ONNX format: got {model}. Export one with --format onnx.')
    description, content = _describe(model)
    written = _written(out)
    files = {f'runtime/{name}': data for name, data in runtime_files(runtime).items()}
    # index.html comes last, when everything that it loads is there.
    pages = sorted(PAGE.iterdir(), key=lambda path: path.name == 'index.html')
    files |= {'model.onnx': content} | {path.name: path.read_bytes() for path in pages}
    # The earlier hashes are kept, because a build that is interrupted leaves files of the earlier one.
    known = {*written, *(hashlib.sha256(data).hexdigest() for data in files.values())}
    check_targets([out / name for name in files], ours=lambda path: _hash_of(path) in known)
    write_json(out / DESCRIPTION, description | dict(written=sorted(known)))
    for name, data in files.items():
        write_bytes(out / name, data)
    return out / 'index.html'


def _describe(model: Path) -> tuple[dict, bytes]:
    """Return the description of a model for the page, and the content of the model."""
    predictor = Predictor(model, threads=1)
    if predictor.output != 'labels' or predictor.metadata['batch'] not in (None, 1):
        raise UsageError(f'{model} is not for single frames and labels: export it with --output labels and no --batch.')
    content = read_files(model)['.onnx']
    description = dict(
        name=model.stem,
        classes=predictor.classes,
        palette=predictor.palette,
        size=predictor.size,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        runtime=VERSION,
    )
    return description, content


def _written(out: Path) -> list[str]:
    """Return the hashes of the files that earlier builds have written into the folder.

    Raises:
        UsageError: It is a file, or contains files but no description by this command.
    """
    if out.is_file():
        raise UsageError(f'{out} is a file: name a folder for the page.')
    if not out.is_dir() or not any(out.iterdir()):
        return []
    try:
        return [str(hash_) for hash_ in json.loads((out / DESCRIPTION).read_bytes())['written']]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f'{out} contains files that this command did not write: name a new or an empty folder.'
        ) from error


def _hash_of(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if is_regular(path) else None
