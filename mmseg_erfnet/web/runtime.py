"""ONNX Runtime Web: one pinned version, fetched with npm, verified by its hash and cached."""

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from mmseg_erfnet.errors import UsageError
from mmseg_erfnet.files import write_bytes

PACKAGE = 'onnxruntime-web'
VERSION = '1.30.0'
# As published by the npm registry (npm view onnxruntime-web@1.30.0 dist.integrity).
SHA512 = 'q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=='
# Three files for WebAssembly, three with WebGPU; a browser loads those that it uses.
FILES = (
    'ort.wasm.min.mjs',
    'ort-wasm-simd-threaded.mjs',
    'ort-wasm-simd-threaded.wasm',
    'ort.webgpu.min.mjs',
    'ort-wasm-simd-threaded.asyncify.mjs',
    'ort-wasm-simd-threaded.asyncify.wasm',
)
# The package states its licence, MIT, only in package.json.
LICENSE = """MIT License

Copyright (c) Microsoft Corporation. ONNX Runtime Web, https://github.com/microsoft/onnxruntime

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def runtime_files(folder: str | Path | None = None) -> dict[str, bytes]:
    """Return the runtime's files by name, including the licence.

    Args:
        folder: An unpacked ``onnxruntime-web`` (its ``dist`` or the folder above). If None, the cached archive is used,
            or the one that ``npm pack`` fetches.

    Raises:
        UsageError: A file is missing, or the archive cannot be fetched or is not the pinned one.
    """
    found = _from_archive(_archive()) if folder is None else _from_folder(Path(folder))
    return {**found, 'LICENSE': LICENSE.encode()}


def _from_folder(folder: Path) -> dict[str, bytes]:
    dist = folder / 'dist' if (folder / 'dist').is_dir() else folder
    missing = [name for name in FILES if not (dist / name).is_file()]
    if missing:
        raise UsageError(
            f'{folder} has no {missing[0]}: give the folder of an unpacked {PACKAGE} {VERSION}, or leave --runtime out.'
        )
    package = dist.parent / 'package.json'
    try:
        version = json.loads(package.read_bytes())['version'] if package.is_file() else VERSION
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f'{package} is damaged: unpack {PACKAGE} {VERSION} again.') from error
    if version != VERSION:
        raise UsageError(f'{folder} is {PACKAGE} {version}, but the page was tested with {VERSION}: give that one.')
    return {name: (dist / name).read_bytes() for name in FILES}


def _from_archive(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {name: archive.extractfile(f'package/dist/{name}').read() for name in FILES}


def cache_path() -> Path:
    """Return where the archive is cached."""
    root = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    return root / 'mmseg_erfnet' / f'{PACKAGE}-{VERSION}.tgz'


def _archive() -> bytes:
    cached = cache_path()
    if cached.is_file():
        data = cached.read_bytes()
        if is_pinned(data):
            return data
    data = _fetch()
    if not is_pinned(data):
        raise UsageError(
            f'The {PACKAGE} {VERSION} that npm fetched does not have the published hash: check the registry that npm '
            'uses (npm config get registry), or give an unpacked package with --runtime.'
        )
    write_bytes(cached, data)
    return data


def is_pinned(data: bytes) -> bool:
    """Return whether an archive is the pinned one."""
    return base64.b64encode(hashlib.sha512(data).digest()).decode() == SHA512


def _fetch() -> bytes:
    npm = shutil.which('npm')
    if npm is None:
        raise UsageError(
            f'The page needs {PACKAGE} {VERSION}, which npm fetches, but npm is not installed: install Node.js, or '
            'give an unpacked package with --runtime.'
        )
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, 'pack', f'{PACKAGE}@{VERSION}', '--pack-destination', folder, '--silent']
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, cwd=folder)
        except subprocess.TimeoutExpired as error:
            raise UsageError(f'npm did not fetch {PACKAGE} within ten minutes: try again, or use --runtime.') from error
        archives = list(Path(folder).glob('*.tgz'))
        if done.returncode or len(archives) != 1:
            reason = next((line for line in done.stderr.splitlines() if line.strip()), f'status {done.returncode}')
            raise UsageError(
                f'npm could not fetch {PACKAGE} {VERSION} ({reason}): check the network, or give an unpacked package '
                'with --runtime.'
            )
        return archives[0].read_bytes()
