"""Bring CamVid, in whichever of its usual forms, into the layout that the datasets read.

Nothing is unpacked by path: each image is read into memory, checked, and written under its own name, so an archive
cannot write outside the target. All is written into a folder beside the target, which takes its place at the end.
"""

import contextlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from mmseg_erfnet.datasets.camvid import FRAMES, LABELS, PALETTE, PALETTE11, random_split, standard_split
from mmseg_erfnet.datasets.labels import UNKNOWN, colour_table, describe, look_up
from mmseg_erfnet.errors import DataError, UsageError
from mmseg_erfnet.files import write_text
from mmseg_erfnet.images import IMAGE_SUFFIXES, check_frame, check_image, decode_index_labels, decode_rgb_labels
from mmseg_erfnet.progress import progress
from mmseg_erfnet.text import listed

# The two archives of http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/ and their copies on the first author's
# page. Each address is tried in turn.
UCL = 'http://web4.cs.ucl.ac.uk/staff/g.brostow/MotionSegRecData'
CAMBRIDGE = 'http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid'
ARCHIVES = {
    f'{FRAMES}.zip': (f'{UCL}/files/{FRAMES}.zip', f'{CAMBRIDGE}/data/{FRAMES}.zip'),
    f'{LABELS}.zip': (f'{CAMBRIDGE}/data/{LABELS}.zip', f'{UCL}/data/{LABELS}.zip'),
}
MAX_BYTES = 1 << 26  # of a file; the largest of CamVid has 1.4 MB
THREADS = 4
SHOWN = 5
CAMVID_COLOURS = tuple(map(tuple, PALETTE))
# Colour of each of SegNet's ids: 11 is unlabelled, and so is 255 in copies made since.
SEGNET_COLOURS = {**dict(enumerate(PALETTE11)), 11: PALETTE[30], 255: PALETTE[30]}


@dataclass(frozen=True)
class Prepared:
    """What `prepare_camvid` found and made."""

    out: Path
    frames: int
    standard: int
    left_out: list[str]
    splits: dict[str, list[str]]
    changed: bool

    def __str__(self) -> str:
        lines = [
            f'{self.frames} frames in {self.out}, {self.standard} of them among the 701 of CamVid.'
            if self.changed
            else f'{self.out} is up to date with its {self.frames} frames; nothing was changed.'
        ]
        if self.standard < 701 and self.changed:
            lines.append('Frames are missing: the splits are cut to what is there.')
        if self.left_out:
            lines.append(
                f'{len(self.left_out)} images without a counterpart were left out: {listed(self.left_out, 3)}.'
            )
        lines.append('Splits: ' + ', '.join(f'{split} {len(names)}' for split, names in self.splits.items()) + '.')
        absent = [split for split in ('train', 'val', 'test') if split not in self.splits]
        if absent:
            lines.append(f'There is no split {" or ".join(absent)}, for want of frames.')
        return '\n'.join(lines)


@dataclass(frozen=True)
class _File:
    shown: str
    path: PurePosixPath
    read: Callable[[], bytes]
    archived: bool = False


def prepare_camvid(
    source: str | Path, out: str | Path, split: str = 'standard', seed: int = 0, unknown: str = 'error'
) -> Prepared:
    """Check CamVid and write it in the layout of the official archives, with its splits.

    A second run changes nothing, and one that is interrupted leaves no `out` behind. Where `out` holds the same frames
    already, only the splits are written, so it also serves archives that were unpacked there by hand.

    Args:
        source: A folder with, at any depth, the official archives or what they unpack to, the folders `train
            train_labels val val_labels test test_labels`, or SegNet's `train trainannot ...` with indexed labels;
            or an archive of one of these.
        out: The folder to make.
        split: `standard`, SegNet's 367 / 101 / 233, or `random`, 128 of 701 frames to validate on and the others to
            train on. Both are cut to the frames that are there.
        seed: Of the random split.
        unknown: `error`, or `ignore` to accept labels with colours outside the palette. They are kept as they are and
            have to be loaded with `LoadSegLabels(unknown='ignore')`.

    Returns:
        What was found and made; as a string, sentences for the user.

    Raises:
        DataError: There is nothing to prepare, an archive or image is damaged or unsafe, a label differs in size from
            its frame or has a colour outside the palette, or `out` holds something else.
        UsageError: There is no such split.
    """
    if split not in ('standard', 'random'):
        raise UsageError(f"split is 'standard' or 'random', not {split!r}.")
    source, out = Path(source), Path(out).resolve()
    with contextlib.ExitStack() as archives:
        frames, labels = _sort(_files(source, out, archives), source)
        names = sorted(frames.keys() & labels.keys())
        if not names:
            raise DataError(
                f'{source} holds no frame with its label ({len(frames)} frames and {len(labels)} labels '
                f'are there); give a folder with {FRAMES}.zip and {LABELS}.zip, or what they unpack to.'
            )
        splits = _splits(names, split, seed)
        fresh = not out.exists() or (out.is_dir() and not any(out.iterdir()))
        if not fresh and not out.is_dir():
            raise DataError(f'{out} is a file; choose another folder.')
        making = out.with_name(f'.{out.name}.preparing')
        shutil.rmtree(making, ignore_errors=True)
        try:
            target = making if fresh else out
            if fresh:
                (making / FRAMES).mkdir(parents=True)
                (making / LABELS).mkdir()
            else:
                _check_no_others(out, names)
            task = partial(_write if fresh else _compare, target, unknown)
            _for_all(task, [(name, frames[name], labels[name]) for name in names])
            changed = _write_splits(target / 'splits', splits) or fresh
            if fresh:
                making.rename(out)
        except OSError as error:
            raise DataError(f'{out} could not be made ({error}); it is as it was.') from error
        finally:
            shutil.rmtree(making, ignore_errors=True)
    left_out = [file.shown for name, file in sorted({**labels, **frames}.items()) if name not in set(names)]
    standard = len(set(names) & {*standard_split('trainval'), *standard_split('test')})
    return Prepared(out, len(names), standard, left_out, splits, changed)


def _files(source: Path, out: Path, archives: contextlib.ExitStack) -> Iterator[_File]:
    """The images in a folder and in the archives there; files before members of archives, so that they prevail."""
    if source.is_file():
        yield from _members(source, archives)
        return
    if not source.is_dir():
        raise DataError(f'{source} does not exist; give the folder or the archive that CamVid is in.')
    zips, skipped = [], set() if source.resolve() == out else {out}
    for folder, subfolders, files in os.walk(source):
        subfolders[:] = sorted(
            name for name in subfolders if not _is_hidden(name) and (Path(folder) / name).resolve() not in skipped
        )
        for path in (Path(folder) / name for name in sorted(files)):
            if path.suffix.lower() == '.zip':
                zips.append(path)
            elif path.suffix.lower() in IMAGE_SUFFIXES and not _is_hidden(path.name):
                yield _File(str(path), PurePosixPath(path.absolute().as_posix()), path.read_bytes)
    for path in zips:
        yield from _members(path, archives)


def _is_hidden(name: str) -> bool:
    return name.startswith('.') or name == '__MACOSX'


def _members(archive: Path, archives: contextlib.ExitStack) -> Iterator[_File]:
    try:
        opened = archives.enter_context(zipfile.ZipFile(archive))
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise DataError(f'{archive} is no archive or is damaged ({error}); fetch it again.') from error
    for member in opened.infolist():
        path = PurePosixPath(member.filename)
        if path.is_absolute() or '..' in path.parts or '\\' in member.filename:
            raise DataError(
                f'{archive} wants to write outside its folder ({member.filename!r}), so it is not '
                "CamVid's; fetch it from the official address."
            )
        if path.suffix.lower() in IMAGE_SUFFIXES and not any(map(_is_hidden, path.parts)):
            # Official LabeledApproved_full.zip has no folder inside, so the archive's name stands for one.
            yield _File(
                f'{archive}:{member.filename}',
                archive.stem / path,
                partial(_read_member, opened, member),
                archived=True,
            )


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if member.file_size > MAX_BYTES:
        raise DataError(
            f'{archive.filename}:{member.filename} claims {member.file_size} bytes, too many for '
            'a frame of CamVid; fetch the archive from the official address.'
        )
    try:
        return archive.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise DataError(f'{archive.filename} is damaged at {member.filename} ({error}); fetch it again.') from error


def _sort(files: Iterable[_File], source: Path) -> tuple[dict[str, _File], dict[str, _File]]:
    frames: dict[str, _File] = {}
    labels: dict[str, _File] = {}
    for file in files:
        folder, stem = file.path.parent.name, file.path.stem
        is_label = stem.endswith('_L') or folder.endswith(('annot', '_labels')) or folder == LABELS
        kind, name = (labels, stem.removesuffix('_L')) if is_label else (frames, stem)
        kept = kind.setdefault(name, file)
        if kept.archived == file.archived and kept is not file:
            raise DataError(f'{source} has {name} twice, {kept.shown} and {file.shown}; keep the right one.')
    return frames, labels


def _splits(names: list[str], split: str, seed: int) -> dict[str, list[str]]:
    if split == 'random':
        train, val = random_split(names, max(1, round(len(names) * 128 / 701)), seed)
        return {'train': train, 'val': val, 'trainval': sorted(names)}
    splits = {
        split: [name for name in standard_split(split) if name in set(names)]
        for split in ('train', 'val', 'test', 'trainval')
    }
    if not any(splits.values()):
        raise DataError(
            f"none of the {len(names)} frames ({listed(names, 3)}) bears the name of one of CamVid's 701; "
            'give CamVid, or take split random.'
        )
    return {split: members for split, members in splits.items() if members}


def _for_all(task: Callable[..., None], pairs: list[tuple]) -> None:
    errors = []

    def attempt(pair: tuple) -> str | None:
        try:
            task(*pair)
        except DataError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(THREADS) as pool, progress('Frames', len(pairs), 'frames') as bar:
        try:
            for error in pool.map(attempt, pairs):
                bar.update()
                if error:
                    errors.append(error)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if errors:
        raise DataError(listed(errors, SHOWN, '\n'))


def _write(target: Path, unknown: str, name: str, frame: _File, label: _File) -> None:
    frame_data, label_data = _checked(unknown, frame, label)
    (target / FRAMES / f'{name}.png').write_bytes(frame_data)
    (target / LABELS / f'{name}_L.png').write_bytes(label_data)


def _compare(target: Path, unknown: str, name: str, frame: _File, label: _File) -> None:
    data = _checked(unknown, frame, label)
    for path, new in zip((target / FRAMES / f'{name}.png', target / LABELS / f'{name}_L.png'), data, strict=True):
        old = path.read_bytes() if path.is_file() else b''
        if new != old and not (old and np.array_equal(_pixels(old), _pixels(new))):
            raise DataError(
                f'{path} is missing or differs from {frame.shown}; remove {target} or choose another folder.'
            )


def _checked(unknown: str, frame: _File, label: _File) -> tuple[bytes, bytes]:
    """Both files' contents as PNG, frames as they are where they are PNG, labels painted in colours."""
    frame_data, label_data = frame.read(), label.read()
    frame_header, label_header = check_frame(frame_data, frame.shown), check_image(label_data, label.shown)
    frame_size, label_size = ((header.width, header.height) for header in (frame_header, label_header))
    if frame_size != label_size:
        raise DataError(
            '{} is {}x{}, but {} is {}x{}; restore the pair from the original data.'.format(
                label.shown, *label_size, frame.shown, *frame_size
            )
        )
    pixels = _pixels(frame_data)
    if pixels is None:
        raise DataError(f'{frame.shown} is damaged and cannot be decoded; put the original file in its place.')
    if not frame_data.startswith(b'\x89PNG'):
        frame_data = _png(pixels)
    if label_header.kind == 'grey' or (label_header.kind == 'indexed' and label.path.parent.name.endswith('annot')):
        return frame_data, _png(_painted(decode_index_labels(label_data, label.shown), label.shown))
    _check_colours(decode_rgb_labels(label_data, label.shown), label.shown, unknown)
    return frame_data, label_data if label_data.startswith(b'\x89PNG') else _png(_pixels(label_data))


def _painted(ids: np.ndarray, shown: str) -> np.ndarray:
    unknown = sorted(set(np.unique(ids).tolist()) - SEGNET_COLOURS.keys())
    if unknown:
        raise DataError(
            f"{shown} has ids that are not SegNet's ({', '.join(map(str, unknown[:SHOWN]))}; 0 to 10 are "
            'the classes, 11 unlabelled); give the labels in colours instead.'
        )
    table = np.zeros((256, 3), np.uint8)
    table[list(SEGNET_COLOURS)] = [colour[::-1] for colour in SEGNET_COLOURS.values()]
    return table[ids]


def _check_colours(labels: np.ndarray, shown: str, unknown: str) -> None:
    odd = labels[look_up(labels, colour_table(CAMVID_COLOURS)) == UNKNOWN]
    if len(odd) and unknown == 'error':
        raise DataError(
            f"{shown} has colours that are not CamVid's: {describe(odd)}; put the original file in its "
            'place, or accept them as ignored.'
        )


def _pixels(data: bytes) -> np.ndarray | None:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def _png(pixels: np.ndarray) -> bytes:
    return cv2.imencode('.png', pixels)[1].tobytes()


def _check_no_others(out: Path, names: list[str]) -> None:
    folder = out / FRAMES
    others = sorted({path.stem for path in folder.glob('*.png')} - set(names)) if folder.is_dir() else []
    if others:
        raise DataError(
            f'{out} holds frames that the source lacks ({listed(others, 3)}); remove it or choose another folder.'
        )


def _write_splits(folder: Path, splits: Mapping[str, list[str]]) -> bool:
    folder.mkdir(exist_ok=True)
    wanted = {f'{split}.txt': '\n'.join(names) + '\n' for split, names in splits.items()}
    changed = False
    for file in ('train.txt', 'val.txt', 'test.txt', 'trainval.txt'):
        path = folder / file
        if file not in wanted:
            changed |= path.exists()
            path.unlink(missing_ok=True)
        elif not path.is_file() or path.read_text() != wanted[file]:
            write_text(path, wanted[file])
            changed = True
    return changed


def download_camvid(
    folder: str | Path, archives: Mapping[str, Iterable[str]] = ARCHIVES, attempts: int = 4, timeout: float = 30
) -> None:
    """Fetch the official archives that the folder does not have yet, 580 MB.

    A transfer that breaks off goes on where it stopped, in this run or in a later one. A file gets its name only once
    it is whole.

    Args:
        folder: Where to put them.
        archives: Addresses to be tried in turn, by file name.
        attempts: How often an address is tried.
        timeout: Seconds without an answer that make an attempt fail.

    Raises:
        DataError: An archive could not be fetched.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
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
                f'{name} could not be downloaded: {"; ".join(reasons)}. Fetch it by other means, put it in '
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
            if error.code == 416:  # what is there of it is not of this file
                part.unlink(missing_ok=True)
            elif 400 <= error.code < 500:
                raise DataError(reason) from error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = f'{address} fails ({error or type(error).__name__})'
    else:
        raise DataError(f'{reason}, at the last of {attempts} attempts')
    fault = _fault(part)
    if fault:
        part.unlink()
        raise DataError(f'{address} sent {fault}')
    part.replace(target)


def _transfer(address: str, part: Path, timeout: float) -> bool:
    """Fetch what is missing of a file; whether it is now complete."""
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
    """What is wrong with an archive, or nothing."""
    with archive.open('rb') as file:
        if file.read(64).lstrip().startswith(b'<'):
            return 'a web page instead of the archive'
    try:
        with zipfile.ZipFile(archive) as opened:
            damaged = opened.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        return f'a damaged archive ({error})'
    return f'an archive that is damaged at {damaged}' if damaged else ''
