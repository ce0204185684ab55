"""Download the archives of CamVid's official page."""

import http.client
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from mmseg_erfnet.datasets.camvid import FRAMES, LABELS
from mmseg_erfnet.errors import DataError
from mmseg_erfnet.files import make_folder, storage_error
from mmseg_erfnet.progress import progress

# The two archives of http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/ and their copies on the first author's
# page. Each address is tried in turn.
UCL = 'http://web4.cs.ucl.ac.uk/staff/g.brostow/MotionSegRecData'
CAMBRIDGE = 'http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid'
ARCHIVES = {
    f'{FRAMES}.zip': (f'{UCL}/files/{FRAMES}.zip', f'{CAMBRIDGE}/data/{FRAMES}.zip'),
    f'{LABELS}.zip': (f'{CAMBRIDGE}/data/{LABELS}.zip', f'{UCL}/data/{LABELS}.zip'),
}


def download_camvid(
    folder: str | Path, archives: Mapping[str, Iterable[str]] = ARCHIVES, attempts: int = 4, timeout: float = 30
) -> None:
    """Download the official archives that the folder does not contain yet, 580 MB.

    An interrupted transfer continues where it stopped, in this run or in a later one. A file gets its final name only
    when it is complete.

    Args:
        folder: The folder for the archives.
        archives: Addresses by file name, tried in this order.
        attempts: Number of attempts per address.
        timeout: Seconds without an answer after which an attempt fails.

    Raises:
        DataError: An archive could not be fetched.
        StorageError: It cannot be written.
    """
    folder = make_folder(folder)
    for name, addresses in archives.items():
        target, reasons = folder / name, []
        for address in addresses:
            if target.exists():
                break
            try:
                _fetch(address, target, attempts, timeout)
            except DataError as error:
                reasons.append(str(error))
        if not target.exists():
            raise DataError(
                f'{name} could not be downloaded: {"; ".join(reasons)}. Download it by other means, put it in '
                f'{folder} and run again without downloading.'
            )


def _fetch(address: str, target: Path, attempts: int, timeout: float) -> None:
    part = target.with_name(f'{target.name}.part')
    for _ in range(attempts):
        try:
            if _transfer(address, part, timeout):
                break
            reason = f'{address} broke off after {part.stat().st_size} bytes'
        except urllib.error.HTTPError as error:
            reason = f'{address} answers {error.code} {error.reason}'
            if error.code == 416:  # the partial file does not belong to this archive
                part.unlink(missing_ok=True)
            elif 400 <= error.code < 500:
                raise DataError(reason) from error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = f'{address} fails ({error or type(error).__name__})'
        except OSError as error:
            raise storage_error(part, error) from error
    else:
        raise DataError(f'{reason}, in the last of {attempts} attempts')
    fault = _fault(part)
    if fault:
        part.unlink()
        raise DataError(f'{address} sent {fault}')
    part.replace(target)


def _transfer(address: str, part: Path, timeout: float) -> bool:
    """Download the missing part of a file; return whether it is now complete."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address, headers={'Range': f'bytes={start}-'} if start else {})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        if answer.status != 206:
            start = 0
        length = answer.headers.get('Content-Length')
        total = None if length is None else start + int(length)
        with (
            part.open('ab' if start else 'wb') as file,
            progress(part.stem, total, 'B', initial=start, unit_scale=True) as bar,
        ):
            while chunk := answer.read(1 << 20):
                file.write(chunk)
                bar.update(len(chunk))
    return total is None or part.stat().st_size == total


def _fault(archive: Path) -> str:
    """Return what is wrong with an archive, or an empty string."""
    with archive.open('rb') as file:
        if file.read(64).lstrip().startswith(b'<'):
            return 'a web page instead of the archive'
    try:
        with zipfile.ZipFile(archive) as opened:
            damaged = opened.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        return f'a damaged archive ({error})'
    return f'an archive that is damaged at {damaged}' if damaged else ''
