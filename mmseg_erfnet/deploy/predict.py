"""Predict images, folders, videos and cameras into files. Needs what a :class:`Predictor` needs."""

import contextlib
import glob
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from mmseg_erfnet.deploy.runtime import Predictor
from mmseg_erfnet.errors import DataError, UsageError
from mmseg_erfnet.files import write_bytes
from mmseg_erfnet.images import IMAGE_SUFFIXES
from mmseg_erfnet.visualization import painting

CONTENTS = ('labels', 'painted', 'video')
RECORD = 'predicted_by.json'


def predict(
    predictor: Predictor,
    source: str,
    out: str | Path,
    contents: Iterable[str] = (),
    overwrite: bool = False,
    shard: tuple[int, int] = (1, 1),
    max_frames: int | None = None,
) -> list[str]:
    """Predict whatever a source is, and write the results.

    Of an image NAME come ``labels/NAME.png``, with the class of each pixel as its grey value, and
    ``painted/NAME.png``; of a video or a camera ``NAME.mp4``, painted, and on request ``labels/NAME/000000.png`` and so
    on. Files appear whole or not at all.

    Args:
        predictor: A model whose output is labels.
        source: An image, a folder with images at any depth, a pattern such as ``'drive/*.png'``, a video, or the number
            of a camera.
        out: Folder for the results.
        contents: Of 'labels', 'painted' and 'video'. Without any, labels and painted, of videos and cameras video.
        overwrite: Predict images again whose results are there.
        shard: K, N: predict the K-th of N shares of the images, K from 1.
        max_frames: Stop a video or a camera after so many frames.

    Returns:
        A sentence for each image that could not be predicted.

    Raises:
        UsageError: What was asked for cannot be done.
        DataError: The video or the camera cannot be read.
    """
    if predictor.output != 'labels':
        raise UsageError(f'{predictor.name} returns {predictor.output}; export it with --output labels.')
    contents, out = set(contents), Path(out)
    images = find_images(source)
    if images is None:
        if shard != (1, 1):
            raise UsageError('A share (--shard) is of a list of images, not of a video or a camera.')
        _predict_video(predictor, source, out, contents or {'video'}, max_frames)
        return []
    if 'video' in contents:
        raise UsageError(f'{source} is images, of which labels and painted can be written, not a video.')
    return _predict_images(predictor, images, out, contents or {'labels', 'painted'}, overwrite, shard)


# --- Images -----------------------------------------------------------------------------------------------------------


def find_images(source: str) -> dict[str, Path] | None:
    """Return the images of a source by the names of their results, in order; None if it is a video or a camera.

    Raises:
        UsageError: There is no such file, or it holds no image.
    """
    path = Path(source)
    if path.is_dir():
        files, root = sorted(file for file in path.rglob('*') if file.suffix.lower() in IMAGE_SUFFIXES), path
    elif path.is_file():
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            return None
        files, root = [path], path.parent
    elif source.isdecimal():
        return None
    elif any(sign in source for sign in '*?['):
        matches = map(Path, glob.glob(source, recursive=True))  # noqa: PTH207 (patterns may be absolute)
        files = sorted(file for file in matches if file.suffix.lower() in IMAGE_SUFFIXES)
        root = Path(os.path.commonpath([file.parent for file in files])) if files else path
    else:
        raise UsageError(f'There is no {source}: give an image, a folder, a pattern, a video or a camera number.')
    if not files:
        raise UsageError(f'{source} holds no image ({", ".join(IMAGE_SUFFIXES)}).')
    names = [str(file.relative_to(root).with_suffix('')) for file in files]
    # Of a.jpg and a.png come a.jpg.png and a.png.png.
    count = Counter(names)
    return {name if count[name] == 1 else name + file.suffix: file for name, file in zip(names, files, strict=True)}


def _predict_images(
    predictor: Predictor,
    images: dict[str, Path],
    out: Path,
    contents: set[str],
    overwrite: bool,
    shard: tuple[int, int],
) -> list[str]:
    number, shares = shard
    if not 1 <= number <= shares:
        raise UsageError(f'A share is K of N with K from 1 to N: got {number} of {shares}.')
    _check_record(predictor, out, overwrite)

    def targets(name: str) -> dict[str, Path]:
        return {kind: out / kind / f'{name}.png' for kind in sorted(contents)}

    mine = list(images.items())[number - 1 :: shares]
    todo = [
        (name, file)
        for name, file in mine
        if overwrite or not all(target.is_file() for target in targets(name).values())
    ]
    progress, failures = _Rate(len(todo), f'{len(mine) - len(todo)} were there' if len(todo) < len(mine) else ''), []

    def read(item: tuple[str, Path]) -> tuple[str, Path, np.ndarray | None]:
        return *item, cv2.imread(str(item[1]), cv2.IMREAD_COLOR)

    with _Writer() as writer, progress:
        for name, file, frame in _ahead(read, todo):
            if frame is None:
                failures.append(f'{file}: no image can be read from it.')
            else:
                try:
                    labels = predictor.predict(frame)
                except DataError as error:
                    failures.append(f'{file}: {error}')
                else:
                    writer.submit(_write_images, predictor, frame, labels, targets(name))
            progress.update()
    return failures


def _check_record(predictor: Predictor, out: Path, overwrite: bool) -> None:
    """Refuse to mix the results of two models in one folder."""
    record = json.dumps(dict(model=predictor.name, checkpoint_sha256=predictor.metadata.get('checkpoint_sha256')))
    path = out / RECORD
    if path.is_file() and path.read_text() != record and not overwrite:
        raise UsageError(
            f'{out} holds predictions of another model, {path.read_text()}: give another folder, or --overwrite them.'
        )
    write_bytes(path, record.encode())


def _write_images(predictor: Predictor, frame: np.ndarray, labels: np.ndarray, targets: dict[str, Path]) -> None:
    for kind, target in targets.items():
        picture = labels if kind == 'labels' else predictor.paint(frame, labels)
        write_bytes(target, cv2.imencode('.png', picture)[1].tobytes())


# --- Videos and cameras -----------------------------------------------------------------------------------------------


def _predict_video(predictor: Predictor, source: str, out: Path, contents: set[str], max_frames: int | None) -> None:
    camera = source.isdecimal() and not Path(source).is_file()
    capture = cv2.VideoCapture(int(source) if camera else source)
    name = f'camera{source}' if camera else Path(source).stem
    try:
        if not capture.isOpened():
            raise DataError(
                f'{"Camera " if camera else ""}{source} cannot be opened'
                + ('.' if camera else ': it is no image, and no video that OpenCV reads.')
            )
        rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
        total = 0 if camera else int(max(capture.get(cv2.CAP_PROP_FRAME_COUNT), 0))
        progress = _Rate(min(total, max_frames) if max_frames and total else max_frames or total)
        # A camera has no end but Ctrl-C, which must leave a whole video.
        interrupt = contextlib.suppress(KeyboardInterrupt) if camera else contextlib.nullcontext()
        with _Video(predictor, out / f'{name}.mp4', rate) as video, _Writer() as writer, progress, interrupt:
            for index, frame in enumerate(_ahead(lambda _: capture.read()[1], _numbers(max_frames))):
                if frame is None:
                    break
                labels = predictor.predict(frame)
                targets = {kind: out / kind / name / f'{index:06}.png' for kind in sorted(contents - {'video'})}
                writer.submit(_write_frame, predictor, frame, labels, targets, video if 'video' in contents else None)
                progress.update()
        if not progress.count:
            raise DataError(f'{source} gave no frame.')
    finally:
        capture.release()


def _numbers(end: int | None) -> Iterator[int]:
    number = 0
    while end is None or number < end:
        yield number
        number += 1


def _write_frame(predictor: Predictor, frame: np.ndarray, labels: np.ndarray, targets: dict[str, Path], video) -> None:
    _write_images(predictor, frame, labels, targets)
    if video is not None:
        video.write(frame, labels)


class _Video:
    """A painted video with a legend of all classes, which appears when it is whole."""

    def __init__(self, predictor: Predictor, path: Path, rate: float) -> None:
        self.predictor, self.path, self.rate = predictor, path, rate
        # OpenCV tells the container from the suffix.
        self.unfinished = path.with_name(f'{path.stem}.{os.getpid()}.unfinished{path.suffix}')
        self.writer = self.legend = None

    def write(self, frame: np.ndarray, labels: np.ndarray) -> None:
        picture = self.predictor.paint(frame, labels, legend=False)
        if self.writer is None:
            predictor = self.predictor
            self.legend = painting.legend(
                range(len(predictor.classes)), predictor.classes, predictor.palette, frame.shape[1]
            )
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.size = frame.shape[1], frame.shape[0] + len(self.legend)
            self.writer = cv2.VideoWriter(str(self.unfinished), cv2.VideoWriter_fourcc(*'mp4v'), self.rate, self.size)
            if not self.writer.isOpened():
                raise UsageError(f'OpenCV here cannot write {self.path}; write labels or painted instead (--write).')
        self.writer.write(np.vstack([picture, self.legend]))

    def __enter__(self) -> '_Video':
        return self

    def __exit__(self, kind, *rest) -> None:
        if self.writer is not None:
            self.writer.release()
            if kind is None:
                os.replace(self.unfinished, self.path)
            self.unfinished.unlink(missing_ok=True)


# --- Reading ahead, writing behind ------------------------------------------------------------------------------------


def _ahead(read: Callable, items: Iterable) -> Iterator:
    """Yield ``read(item)`` of each item; the next one is read meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        pending: Future | None = None
        for item in items:
            following = pool.submit(read, item)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()


class _Writer:
    """A thread that writes one result while the next is predicted. What fails in it is raised at the next call."""

    def __enter__(self) -> '_Writer':
        self.pool, self.pending = ThreadPoolExecutor(1), None
        return self

    def submit(self, function: Callable, *args) -> None:
        if self.pending is not None:
            self.pending.result()
        self.pending = self.pool.submit(function, *args)

    def __exit__(self, kind, *rest) -> None:
        self.pool.shutdown()
        if kind is None and self.pending is not None:
            self.pending.result()


class _Rate:
    """A line on standard error: how many frames of how many, and how many a second. On a terminal it is rewritten."""

    def __init__(self, total: int, note: str = '') -> None:
        self.total, self.note, self.count = total, note, 0

    def __enter__(self) -> '_Rate':
        self.started = self.shown = time.monotonic()
        return self

    def update(self) -> None:
        self.count += 1
        now = time.monotonic()
        if now - self.shown > (0.2 if sys.stderr.isatty() else 10):
            self.shown = now
            self._show('\r' if sys.stderr.isatty() else '', '' if sys.stderr.isatty() else '\n')

    def __exit__(self, *error) -> None:
        self._show('\r' if sys.stderr.isatty() else '', '\n')

    def _show(self, start: str, end: str) -> None:
        seconds = max(time.monotonic() - self.started, 1e-9)
        known = f'{self.count} of {self.total}' if self.total else f'{self.count}'
        share = f'[{"#" * (30 * self.count // self.total):30}] ' if self.total and self.count <= self.total else ''
        note = f' ({self.note})' if self.note else ''
        print(
            f'{start}{share}{known} frames{note}, {self.count / seconds:.1f} frames/s',
            end=end,
            file=sys.stderr,
            flush=True,
        )
