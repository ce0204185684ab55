"""Predict images, folders, clips, cameras and streams and write the results. Needs only what a `Predictor` needs."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from errno import EACCES, EISDIR, ENAMETOOLONG, ENOTDIR
from pathlib import Path

import numpy as np

from mmseg_erfnet.deploy.overlap import Behind, ahead, side_by_side
from mmseg_erfnet.deploy.runtime import Predictor
from mmseg_erfnet.deploy.sources import Source, find_sources
from mmseg_erfnet.deploy.video import check_codec, default_codec, predict_video, video_path, write_picture
from mmseg_erfnet.errors import DataError, StorageError, UsageError, UserError
from mmseg_erfnet.files import (
    check_targets,
    make_folder,
    read_record,
    shown,
    storage_error,
    write_bytes,
    write_if_absent,
    writing_together,
)
from mmseg_erfnet.images import decode_frame, read_image_file
from mmseg_erfnet.progress import progress
from mmseg_erfnet.visualization import painting

CONTENTS = ('labels', 'painted', 'video')
RECORD = 'predicted_by.json'
RECORDED = ('.png', '.mp4', '.webm')  # files that carry a record
# Errors that concern a single file; the other files can still be written.
OF_ONE_FILE = (ENAMETOOLONG, EACCES, EISDIR, ENOTDIR)


@dataclass
class Result:
    """The outcome of :func:`predict`.

    Attributes:
        pictures: Painted pictures and videos (label maps if only those are written), including existing ones.
        failures: One sentence for each input that could not be predicted, or only in part.
        kept: Number of inputs that were skipped because their results already existed.
        stopped: Whether the prediction was stopped early.
    """

    pictures: list[Path] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    kept: int = 0
    stopped: bool = False


def predict(
    predictor: Predictor,
    inputs: str | Sequence[str],
    out: str | Path,
    contents: Iterable[str] = (),
    overwrite: bool = False,
    shard: tuple[int, int] = (1, 1),
    max_frames: int | None = None,
    every: int = 1,
    codec: str | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Result:
    """Predict inputs of any kind and write the results.

    An image NAME gives ``labels/NAME.png``, with the class of each pixel as its grey value, and ``painted/NAME.png``.
    A clip, camera or stream gives a painted ``NAME.mp4`` or ``NAME.webm`` and, on request, ``labels/NAME/000000.png``
    and so on. Files are written whole or not at all. Each file carries a record of its input and model, so existing
    results are not predicted again, and files that are not ours are not replaced. An input that cannot be predicted
    does not stop the others.

    Args:
        predictor: A model whose output is labels.
        inputs: Images, folders with images and clips at any depth, patterns such as ``'frames/*.png'``, clips,
            addresses, camera numbers.
        out: Folder for the results.
        contents: Any of 'labels', 'painted' and 'video'. By default, labels and painted for images, video for clips
            and cameras.
        overwrite: Predict existing results again, including those of another model.
        shard: K, N: predict the K-th of N shares of the inputs, counting from 1.
        max_frames: Stop a clip or a camera after this number of frames.
        every: Predict every N-th frame of a clip or a camera, and keep its labels for the frames in between.
        codec: The codec of videos, see :mod:`mmseg_erfnet.deploy.video`.
        stopped: Called before each frame; once it returns true, the results end there.

    Returns:
        What was written and what failed.

    Raises:
        UsageError: The request is invalid, or would replace an input or a file that is not ours.
        StorageError: The folder cannot be written.
    """
    if predictor.output != 'labels':
        raise UsageError(f'{predictor.name} returns {predictor.output}; export it with --output labels.')
    painting.check_names(predictor.classes)
    codec = codec or default_codec()
    check_codec(codec)
    for name, value in (('--max-frames', max_frames), ('--every', every)):
        if value is not None and value < 1:
            raise UsageError(f'{name} must be at least 1 frame: got {value}.')
    inputs = [inputs] if isinstance(inputs, (str, os.PathLike)) else inputs
    sources = find_sources(inputs, out, lambda path: path.suffix in RECORDED and read_record(path) is not None)
    options = ({'every': every} if every > 1 else {}) | ({'max_frames': max_frames} if max_frames else {})
    job = _Job(predictor, Path(out), set(contents), overwrite, codec, options)
    job.check(sources)
    try:
        return _run(job, _share(sources, shard), max_frames, every, stopped)
    finally:
        job.end()


def _share(sources: list[Source], shard: tuple[int, int]) -> list[Source]:
    number, shares = shard
    if not 1 <= number <= shares:
        raise UsageError(f'--shard is K/N with K from 1 to N: got {number} of {shares}.')
    if shares > 1 and len(sources) == 1 and sources[0].kind != 'image':
        raise UsageError('--shard divides a list of inputs, not a video or a camera.')
    return sources[number - 1 :: shares]


def _model_record(predictor: Predictor) -> dict:
    """What identifies a model: its name, its weights, and everything else that affects its labels or their colours."""
    settings = {key: value for key, value in predictor.metadata.items() if key not in ('checksum', 'versions')}
    text = json.dumps(settings, sort_keys=True, default=str)
    return dict(
        model=predictor.name,
        checkpoint_sha256=predictor.metadata.get('checkpoint_sha256'),
        settings=hashlib.blake2b(text.encode(), digest_size=8).hexdigest(),
    )


class _Job:
    """Which files are written for each source, and whether they already exist."""

    def __init__(
        self, predictor: Predictor, out: Path, contents: set[str], overwrite: bool, codec: str, options: dict
    ) -> None:
        self.predictor, self.out, self.contents, self.codec = predictor, out, contents, codec
        self.overwrite, self.options = overwrite, options
        self.model = _model_record(predictor)
        self._recorded = False
        self._lock = contextlib.ExitStack()
        self._found: dict[Path, dict | None] = {}

    def found(self, target: Path) -> dict | None:
        """The record of a file from before this run; read once."""
        if target not in self._found:
            self._found[target] = read_record(target)
        return self._found[target]

    def kinds(self, source: Source) -> list[str]:
        """The kinds of results that are written for a source."""
        if source.kind == 'image':
            return sorted((self.contents or {'labels', 'painted'}) - {'video'})
        return sorted(self.contents or {'video'})

    def targets(self, source: Source) -> dict[str, Path]:
        """The files of an image; the file and the folders of a clip."""
        found = {}
        for kind in self.kinds(source):
            if kind == 'video':
                found[kind] = video_path(self.out, source, self.codec)
            else:
                found[kind] = self.out / kind / (f'{source.name}.png' if source.kind == 'image' else source.name)
        return found

    def record(self, source: Source) -> dict:
        """The record that the files of a source carry: the model, and values that identify the source."""
        options = {} if source.kind == 'image' else self.options
        place = hashlib.blake2b(os.fsencode(source.place), digest_size=8).hexdigest()
        try:
            status = Path(source.place).stat()
            state = f'{status.st_size}-{status.st_mtime_ns}'
        except (OSError, ValueError):
            state = None
        return self.model | options | dict(source=place, state=state)

    def check(self, sources: list[Source]) -> None:
        """Refuse, before anything is written, a request that is invalid or would replace files that are not ours."""
        images = [source for source in sources if source.kind == 'image']
        if 'video' in self.contents and len(images) == len(sources):
            raise UsageError('The inputs are images: --write labels or painted, not a video.')
        if images and not self.kinds(images[0]):
            raise UsageError(
                'The inputs include images, which cannot be written as a video: add labels or painted to --write.'
            )
        self._check_model()
        targets = [target for source in sources for target in self._files(source)]
        check_targets(targets, (source.place for source in sources), lambda path: self.found(path) is not None)
        if not self.overwrite:
            for source in sources:
                self._check_source(source)

    def _files(self, source: Source) -> Iterator[Path]:
        """The files of a source; for the pictures of a clip, only those that exist."""
        for kind, target in self.targets(source).items():
            if source.kind == 'image' or kind == 'video':
                yield target
            else:
                with contextlib.suppress(OSError):
                    yield from sorted(path for path in target.iterdir() if path.suffix == '.png')

    def _check_model(self) -> None:
        path = self.out / RECORD
        try:
            text = path.read_text() if path.is_file() else None
        except OSError as error:
            raise storage_error(self.out, error) from error
        except ValueError:
            text = ''
        if text is None:
            return
        if '"checkpoint_sha256"' not in text:
            raise UsageError(f'{shown(path)} is not a record of a prediction: remove it, or choose another --out.')
        if text != json.dumps(self.model) and not self.overwrite:
            raise UsageError(
                f'{shown(self.out)} holds predictions of another model, {text[:200]}: choose another --out, or '
                '--overwrite them.'
            )

    def _check_source(self, source: Source) -> None:
        wanted = self.record(source)
        for target in self._files(source):
            found = self.found(target)
            if not found:
                continue
            if source.kind == 'live':
                raise UsageError(
                    f'{shown(target)} is an earlier result of {source}: choose another --out, or --overwrite it.'
                )
            if all(found.get(key) != wanted[key] for key in ('source', 'state')):
                raise UsageError(
                    f'{shown(target)} is the result of another input with this name: choose another --out, or '
                    '--overwrite it.'
                )

    def is_there(self, source: Source) -> bool:
        """Whether all results of a source exist and are complete."""
        if self.overwrite or source.kind == 'live' or (source.kind == 'video' and self.kinds(source) != ['video']):
            return False
        wanted = {key: value for key, value in self.record(source).items() if key != 'source'}
        if source.kind == 'video':
            wanted |= dict.fromkeys(('every', 'max_frames')) | self.options | {'whole': True}
        for target in self.targets(source).values():
            found = self.found(target) or {}
            if any(found.get(key) != value for key, value in wanted.items()):
                return False
        return True

    def begin(self) -> None:
        """Record in the folder which model's predictions it contains, before the first is written."""
        if self._recorded:
            return
        self._lock.enter_context(writing_together(make_folder(self.out), CONTENTS))
        data = json.dumps(self.model).encode()
        if not write_if_absent(self.out / RECORD, data) and (self.out / RECORD).read_bytes() != data:
            self._check_model()  # another process may have been first
            write_bytes(self.out / RECORD, data)
        self._recorded = True

    def predict(self, read: tuple[Source, np.ndarray | DataError]) -> np.ndarray | str:
        """Return the labels of an image, or one sentence that says why there are none."""
        source, frame = read
        try:
            return self.predictor.predict(_checked(frame))
        except DataError as error:
            return _naming(source, error)
        except MemoryError:
            return f'{source} does not fit into memory; shrink it, or cut it into tiles.'

    def end(self) -> None:
        """Let another process have the folder."""
        self._lock.close()

    def picture(self, source: Source) -> Path:
        """The file or folder that the user should open."""
        targets = self.targets(source)
        return targets.get('video') or targets.get('painted') or targets['labels']


def _run(job: _Job, sources: list[Source], max_frames: int | None, every: int, stopped: Callable[[], bool]) -> Result:
    result = Result()
    todo = []
    for source in sources:
        if job.is_there(source):
            result.kept += 1
            result.pictures.append(job.picture(source))
        else:
            todo.append(source)
    images = [source for source in todo if source.kind == 'image']
    if images:
        _predict_images(job, images, result, stopped)
    clips = [source for source in todo if source.kind != 'image']
    for number, source in enumerate(clips, 1):
        if result.stopped:
            break
        try:
            job.begin()
            targets = job.targets(source)
            target = targets.pop('video', None)
            predicted = predict_video(
                job.predictor, source, target, targets, job.codec, every, max_frames, stopped, job.record(source)
            )
        except (DataError, StorageError) as error:
            if isinstance(error, StorageError) and error.errno not in OF_ONE_FILE:
                raise
            fault, ended = _naming(source, error), stopped()
        else:
            fault, ended = predicted.fault, predicted.stopped
            result.pictures.append(job.picture(source))
        result.failures += [fault] if fault else []
        # A camera only ends by being stopped, so that alone does not count.
        result.stopped = ended or (stopped() and number < len(clips))
    return result


def _predict_images(job: _Job, sources: list[Source], result: Result, stopped: Callable[[], bool]) -> None:
    job.begin()
    note = f'{result.kept} already there' if result.kept else ''
    done = 0
    read = ahead(map(_read, sources), stopped)
    with (
        Behind() as writer,
        contextlib.closing(side_by_side(job.predict, read, job.predictor.parallel)) as predicted,
        progress('Images', len(sources), 'images', note) as bar,
    ):
        for (source, frame), labels in predicted:
            if isinstance(labels, str):
                result.failures.append(labels)
            else:
                writer.submit(_write_image, job, source, frame, labels, result)
            done += 1
            bar.update()
    result.stopped = done < len(sources)


def _write_image(job: _Job, source: Source, frame: np.ndarray, labels: np.ndarray, result: Result) -> None:
    try:
        for kind, target in job.targets(source).items():
            write_picture(target, job.predictor, frame, labels, kind, job.record(source))
        result.pictures.append(job.picture(source))
    except (DataError, StorageError) as error:
        if isinstance(error, StorageError) and error.errno not in OF_ONE_FILE:
            raise
        result.failures.append(_naming(source, error))


def _read(source: Source) -> tuple[Source, np.ndarray | DataError]:
    try:
        return source, decode_frame(read_image_file(source.place), source.place)
    except DataError as error:
        return source, error


def _checked(frame: np.ndarray | DataError) -> np.ndarray:
    if isinstance(frame, DataError):
        raise frame
    return frame


def _naming(source: Source, error: UserError) -> str:
    text = str(error)
    return text if isinstance(error, StorageError) or text.startswith(str(source)) else f'{source}: {text}'
