"""Video: reading clips to their end despite damage, predicting them, and writing painted clips that browsers play.

OpenCV reads clips. PyAV writes H.264 if it is installed; OpenCV writes VP8 and MPEG-4.
"""

import contextlib
import errno
import importlib.util
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

# FFmpeg prints dozens of lines about a damaged clip; this module reports the damage in one sentence.
os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')

import cv2
import numpy as np

from mmseg_erfnet.deploy.overlap import Behind, ahead, side_by_side
from mmseg_erfnet.deploy.runtime import Predictor
from mmseg_erfnet.deploy.sources import Source, find_sources
from mmseg_erfnet.errors import DataError, UsageError
from mmseg_erfnet.files import (
    append_record,
    check_targets,
    make_folder,
    read_record,
    replacing,
    shown,
    storage_error,
    with_record,
    write_bytes,
)
from mmseg_erfnet.images import encode_png
from mmseg_erfnet.progress import progress
from mmseg_erfnet.silence import silenced
from mmseg_erfnet.visualization import painting

# The container of each codec. mp4v, MPEG-4 part 2, takes a twentieth of VP8's time, but no browser plays it.
CODECS = {'h264': '.mp4', 'vp8': '.webm', 'mp4v': '.mp4'}
INSTALL_VIDEO = 'pip install av (from a clone: pip install ".[video]")'
DEFAULT_RATE = 25.0
RATES = 1.0, 240.0  # plausible range of frames per second
LONGEST_PAUSE = 60.0  # seconds between two frames; a longer pause is an error in the clip's timestamps
ATTEMPTS = 16, 10_000  # minimum and maximum number of reads after a frame that cannot be decoded
TICKS = 90_000  # of PyAV's clock per second
LOST_AT_END = 0.5, 0.01  # seconds, share: tolerated at the end if the container only estimates its length
LOST_BETWEEN = 3.5  # intervals between two frames of a steady clip; recorders drop one or two frames


def default_codec() -> str:
    """Return 'h264' if PyAV is installed with an encoder for it, else 'vp8'. Browsers play both."""
    if importlib.util.find_spec('av') is None:
        return 'vp8'
    import av

    return 'h264' if 'libx264' in av.codecs_available else 'vp8'


def check_codec(codec: str) -> None:
    """Refuse a codec that cannot be written here.

    Raises:
        UsageError: It is unknown, or PyAV is not installed or lacks it.
    """
    if codec not in CODECS:
        raise UsageError(f'A codec is one of {", ".join(CODECS)}: got {codec!r}.')
    if codec == 'h264' and default_codec() != 'h264':
        raise UsageError(f'H.264 needs PyAV: {INSTALL_VIDEO}; or choose --codec vp8.')


# --- Reading ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _plain(path: str | Path) -> Iterator[str]:
    """Yield a file name that OpenCV accepts, for reading or writing: OpenCV cannot handle names that are not UTF-8."""
    path = Path(path)
    try:
        str(path).encode()
        yield str(path)
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            if path.is_file():
                link = Path(folder, f'file{path.suffix}'.encode('ascii', 'replace').decode())
                link.symlink_to(path.absolute())
                yield str(link)
            else:
                link = Path(folder, 'folder')
                link.symlink_to(path.parent.absolute())
                yield str(link / path.name)


class Clip:
    """A clip, camera or stream that is read to its end, skipping damaged frames.

    Args:
        source: A source of the kind 'video' or 'live'.

    Attributes:
        rate: Frames per second, or a default if the source states none.
        total: Number of frames, or 0 if the source states none.

    Raises:
        DataError: The source cannot be opened.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.read, self.undecoded = source, 0, 0
        self._times: list[float] = []
        self._busy = False
        self._stack = contextlib.ExitStack()
        elsewhere = source.kind == 'live'
        if not elsewhere and not Path(source.place).is_file():  # a pipe or a device may have no end
            raise DataError(f'{source} is missing or no regular file; give a video.')
        if source.place.isdecimal() and elsewhere:
            self._capture = cv2.VideoCapture(int(source.place))
        else:
            place = source.place if elsewhere else self._stack.enter_context(_plain(source.place))
            ffmpeg = cv2.CAP_FFMPEG in cv2.videoio_registry.getBackends() and not place.startswith('/dev/')
            self._capture = cv2.VideoCapture(place, cv2.CAP_FFMPEG if ffmpeg else cv2.CAP_ANY)
        if not self._capture.isOpened():
            self._stack.close()
            what = 'connect it, or give another' if elsewhere else 'it is neither an image nor a complete video'
            raise DataError(f'{source} cannot be opened: {what}.')
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if RATES[0] <= rate <= RATES[1] else DEFAULT_RATE
        self.total = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        # An address may refer to a file.
        self.live = elsewhere and not self.total
        self._exact = not elsewhere and _counts_its_frames(source.place)

    def frames(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yield each frame, BGR, with its time in seconds from the first."""
        first = last = None
        started = time.monotonic()
        while True:
            frame = self._next()
            if frame is None:
                return
            now = time.monotonic() - started if self.live else self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            first = now if first is None else first
            now -= first
            if last is not None and not 0 < now - last < LONGEST_PAUSE:
                # Timestamps that stand still or jump.
                first, now = first + now - last - 1 / self.rate, last + 1 / self.rate
            last = now
            self._times.append(now)
            self.read += 1
            yield now, frame

    def _next(self) -> np.ndarray | None:
        """The next frame that can be decoded.

        OpenCV reports a damaged frame in the same way as the end of the clip, but can read on after it.
        """
        for attempt in range(min(max(self.total - self.read, ATTEMPTS[0]), ATTEMPTS[1]) if not self.live else 1):
            self._busy = True
            done, frame = self._capture.read()
            self._busy = False
            if done and frame is not None and frame.size:
                self.undecoded += attempt
                return frame if frame.ndim == 3 else cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)
        return None

    def fault(self) -> str | None:
        """Return, after the last frame, one sentence if there should have been more frames."""
        if not self.read:
            return f'{self.source} holds no frame that can be decoded.'
        if self.live:
            return (
                f'{self.source} gave no further frame after {self.read}: connect it, and run again into another --out.'
            )
        lost = self._lost()
        if not lost:
            return None
        return (
            f'{self.source} is damaged or truncated: {self.read} of {self.read + lost} frames could be read; '
            'the others are missing in the results.'
        )

    def _lost(self) -> int:
        missing = max(self.total - self.read, self.undecoded)
        if self.undecoded or self._exact or missing <= 0:
            return missing
        # In other containers OpenCV estimates the number of frames, from a length that may be that of the sound.
        end = self.total / self.rate
        if end - self._times[-1] - 1 / self.rate > max(LOST_AT_END[0], LOST_AT_END[1] * end):
            return missing
        steps = np.diff(self._times)
        middle = np.median(steps) if steps.size else 0
        steady = np.mean(np.abs(steps - middle) < 0.3 * middle) > 0.9 if steps.size else False
        return missing if steady and steps.max() > LOST_BETWEEN * middle else 0

    def close(self) -> None:
        """Release the clip or the camera, unless a thread is waiting for a frame, for instance of a stalled stream."""
        if not self._busy:
            self._capture.release()
        self._stack.close()

    def __enter__(self) -> 'Clip':
        return self

    def __exit__(self, *error) -> None:
        self.close()


def _counts_its_frames(path: str) -> bool:
    """Whether a file is an MP4, MOV or AVI, whose headers state the number of frames."""
    try:
        with Path(path).open('rb') as file:
            start = file.read(12)
    except OSError:
        return False
    return start[4:8] == b'ftyp' or (start[:4] == b'RIFF' and start[8:] == b'AVI ')


# --- Writing ----------------------------------------------------------------------------------------------------------


class _OpenCVWriter:
    """Writes at a constant frame rate: pictures are repeated or dropped, so that the clip keeps its length."""

    FOURCC = {'vp8': 'VP80', 'mp4v': 'mp4v'}

    def __init__(self, path: Path, codec: str, rate: float, size: tuple[int, int]) -> None:
        self.path, self.rate, self.written = path, rate, 0
        self._held = None
        self._stack = contextlib.ExitStack()
        path.touch()  # OpenCV does not say why a file cannot be opened
        self._name = self._stack.enter_context(_plain(path))
        with silenced(2):  # OpenCV warns that WebM has no tag for VP8
            self._writer = cv2.VideoWriter(self._name, cv2.VideoWriter_fourcc(*self.FOURCC[codec]), rate, size)
        if not self._writer.isOpened():
            self._stack.close()
            raise UsageError(
                f'OpenCV here cannot write video as {codec}; choose another --codec, or --write labels or painted.'
            )

    def write(self, picture: np.ndarray, seconds: float) -> None:
        self._fill(max(0, round(seconds * self.rate)))
        self._held = picture.copy()  # the caller paints the next frame on it

    def _fill(self, until: int) -> None:
        while self._held is not None and self.written < until:
            self._writer.write(self._held)
            self.written += 1

    def close(self) -> None:
        """Finish the clip and read it back, because OpenCV does not report a failed write."""
        try:
            self._fill(self.written + 1)
            self._writer.release()
            capture = cv2.VideoCapture(self._name)
            found = sum(1 for _ in itertools.takewhile(lambda _: capture.grab(), range(self.written)))
            capture.release()
        finally:
            self._stack.close()
        if found != self.written:
            reason = OSError(errno.ENOSPC, f'{found} of {self.written} frames are there')
            raise storage_error(self.path, reason) from reason

    def abandon(self) -> None:
        self._writer.release()
        self._stack.close()


class _PyAVWriter:
    """Writes H.264, with a timestamp for each picture."""

    def __init__(self, path: Path, codec: str, rate: float, size: tuple[int, int]) -> None:
        import av

        av.logging.set_level(av.logging.PANIC)
        self._av, self.path, self._last = av, path, -1
        # A Python file object accepts any name and raises errors.
        self._file = path.open('w+b')
        self._container = av.open(self._file, 'w', format='mp4')
        self._stream = self._container.add_stream('libx264', rate=Fraction(rate).limit_denominator(1001))
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = 'yuv420p'
        # ultrafast takes 1.9 ms for 480x360, veryfast 7.2.
        self._stream.options = {'preset': 'ultrafast', 'crf': '23'}
        context = self._stream.codec_context
        context.time_base = Fraction(1, TICKS)
        # BT.601, limited range, as OpenCV converts.
        context.colorspace, context.color_range, context.color_primaries, context.color_trc = 6, 1, 6, 6

    def write(self, picture: np.ndarray, seconds: float) -> None:
        frame = self._av.VideoFrame.from_ndarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420), format='yuv420p')
        frame.time_base = Fraction(1, TICKS)
        frame.pts = self._last = max(self._last + 1, round(seconds * TICKS))
        frame.colorspace, frame.color_range = 6, 1
        self._mux(frame)

    def _mux(self, frame) -> None:
        try:
            self._container.mux(self._stream.encode(frame))
        except OSError as error:
            raise storage_error(self.path, error) from error

    def close(self) -> None:
        self._mux(None)
        try:
            self._container.close()
            self._file.close()
        except OSError as error:
            raise storage_error(self.path, error) from error

    def abandon(self) -> None:
        for thing in (self._container, self._file):
            with contextlib.suppress(OSError, ValueError):
                thing.close()


def write_clip(path: str | Path, frames: Iterable[np.ndarray], rate: float = 25.0, codec: str = 'vp8') -> int:
    """Write frames, BGR, uint8 (H, W, 3), as a clip; return the number of frames.

    Args:
        path: The file.
        frames: Frames of one size, with even sides.
        rate: Frames per second.
        codec: One of `CODECS`; 'vp8', which browsers play, needs no further package.

    Raises:
        UsageError: A file of that name exists that no tool of this project wrote.
        StorageError: The clip cannot be written.
    """
    check_targets([path], option='video')
    number = 0
    with replacing(path) as unfinished:
        writer = None
        for number, frame in enumerate(frames, 1):
            writer = writer or _writer(unfinished, codec, rate, frame.shape[1::-1])
            writer.write(frame, (number - 1) / rate)
        if writer is not None:
            writer.close()
            append_record(unfinished, dict(frames=number))
    return number


def _writer(path: Path, codec: str, rate: float, size: tuple[int, int]) -> _OpenCVWriter | _PyAVWriter:
    return (_PyAVWriter if codec == 'h264' else _OpenCVWriter)(path, codec, rate, size)


class PaintedVideo:
    """A painted video with a legend of all classes at the bottom.

    Args:
        predictor: The predictor whose classes and palette are painted.
        path: The file.
        codec: One of `CODECS`.
        rate: Frames per second.
    """

    def __init__(self, predictor: Predictor, path: Path, codec: str, rate: float) -> None:
        self.predictor, self.path, self.codec, self.rate = predictor, path, codec, rate
        self._writer = self._canvas = self._picture = None

    def write(self, frame: np.ndarray, labels: np.ndarray, seconds: float) -> None:
        """Add a frame, BGR, uint8 (H, W, 3), with its labels, uint8 (H, W), at a time in seconds."""
        if self._writer is None:
            self._begin(*frame.shape[:2])
        palette, picture = self.predictor.palette, self._picture
        if frame.shape == picture.shape:
            painting.overlay(frame, labels, palette, out=picture)
        else:  # a stream can change its size
            painted = painting.overlay(frame, labels, palette)
            picture[:] = cv2.resize(painted, picture.shape[1::-1], interpolation=cv2.INTER_AREA)
        width = picture.shape[1]
        self._canvas[: len(picture), width:] = picture[:, -1:]
        self._writer.write(self._canvas, seconds)

    def _begin(self, height: int, width: int) -> None:
        """Open the file, and prepare a canvas with the legend, on which all frames are painted."""
        classes = self.predictor.classes
        legend = painting.legend(range(len(classes)), classes, self.predictor.palette, width)
        # To even sides, because encoders halve the resolution of colours.
        odd = (height + len(legend)) % 2, width % 2
        legend = cv2.copyMakeBorder(legend, 0, odd[0], 0, odd[1], cv2.BORDER_REPLICATE)
        self._canvas = np.zeros((height + len(legend), *legend.shape[1:]), np.uint8)
        self._canvas[height:], self._picture = legend, self._canvas[:height, :width]
        self._writer = _writer(self.path, self.codec, self.rate, self._canvas.shape[1::-1])

    def __enter__(self) -> 'PaintedVideo':
        return self

    def __exit__(self, kind, *rest) -> None:
        if self._writer is not None:
            if kind is None:
                self._writer.close()
            else:
                self._writer.abandon()


# --- Predicting -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PredictedVideo:
    """The outcome of :func:`predict_video`.

    Attributes:
        frames: Number of frames read and written.
        seconds: Time from reading the first frame to the end of writing.
        fault: One sentence if the clip is damaged or truncated.
        stopped: Whether the prediction was stopped before the end of the clip.
    """

    frames: int
    seconds: float
    fault: str | None = None
    stopped: bool = False


def predict_video(
    predictor: Predictor,
    source: Source | str | Path,
    target: str | Path | None,
    folders: dict[str, Path] | None = None,
    codec: str | None = None,
    every: int = 1,
    max_frames: int | None = None,
    stopped: Callable[[], bool] = lambda: False,
    record: dict | None = None,
) -> PredictedVideo:
    """Predict a clip, camera or stream. Decoding, painting and writing overlap with the model.

    Files are written whole or not at all; if the run is stopped, they contain the frames so far.

    Args:
        predictor: A model whose output is labels. The first frame of each size may take a second, for compilation.
        source: The clip, camera or stream.
        target: The painted video, or None for no video.
        folders: Maps 'labels' or 'painted' to a folder for one PNG per frame, 000000.png and so on.
        codec: One of `CODECS`; the default is :func:`default_codec`.
        every: Predict every N-th frame, and keep its labels for the frames in between.
        max_frames: Stop after this number of frames.
        stopped: Called before each frame; once it returns true, the results end there.
        record: Stored in the files, with the number of frames and whether the clip is whole; see `files.read_record`.

    Returns:
        The number of frames, the seconds they took, and the fault of the clip, if any.

    Raises:
        DataError: The source cannot be opened, has no frames, or the model refuses its frames.
        StorageError: A file cannot be written.
        UsageError: The codec is not available here.
    """
    if not isinstance(source, Source):
        (source,) = find_sources([os.fspath(source)])
    codec = codec or default_codec()
    check_codec(codec)
    folders, record = folders or {}, record or {}
    with Clip(source) as clip, contextlib.ExitStack() as stack:
        painted = None
        if target is not None:
            temporary = stack.enter_context(replacing(target))
            painted = PaintedVideo(predictor, temporary, codec, clip.rate)
        for folder in folders.values():
            make_folder(folder)
        started = time.monotonic()
        count = _run(predictor, clip, painted, folders, every, max_frames, stopped, record)
        seconds = time.monotonic() - started
        ended = stopped() and not clip.live
        if not count:
            raise DataError(f'{source} was stopped before its first frame.' if stopped() else clip.fault())
        fault = None if stopped() or count == max_frames else clip.fault()
        for folder in folders.values():
            _remove_stale(folder, count, record)
        if painted is not None:
            whole = not ended and fault is None
            append_record(temporary, record | dict(frames=count, whole=whole))
    return PredictedVideo(count, seconds, fault, ended)


def _remove_stale(folder: Path, count: int, record: dict) -> None:
    """Remove pictures of an earlier run with another input or model, which had more frames."""
    for path in folder.iterdir():
        if path.suffix == '.png' and path.stem.isdecimal() and int(path.stem) >= count:
            found = read_record(path)
            # If this run ended early, later pictures of the same input and model may still be valid.
            if found is not None and any(found.get(key) != record[key] for key in record.keys() - {'max_frames'}):
                path.unlink()


def _run(
    predictor: Predictor,
    clip: Clip,
    painted: PaintedVideo | None,
    folders: dict[str, Path],
    every: int,
    max_frames: int | None,
    stopped: Callable[[], bool],
    record: dict,
) -> int:
    count, labels = 0, None
    total = min(clip.total, max_frames) if clip.total and max_frames else clip.total or max_frames
    frames = itertools.islice(clip.frames(), max_frames)
    with (
        painted or contextlib.nullcontext(),
        Behind() as writer,
        contextlib.closing(ahead(frames, stopped)) as items,
        contextlib.closing(
            side_by_side(partial(_predict, predictor), _marked(items, every), predictor.parallel)
        ) as predicted,
        progress(shown(Path(clip.source.name).name), total, 'frames') as bar,
    ):
        for (seconds, frame, _), found in predicted:
            labels = labels if found is None else found
            writer.submit(_write_frame, predictor, frame, labels, seconds, count, painted, folders, record)
            count += 1
            bar.update()
    return count


def _marked(items: Iterable[tuple[float, np.ndarray]], every: int) -> Iterator[tuple[float, np.ndarray, bool]]:
    """Add whether a frame is predicted: every N-th one, and each whose size differs from the one before."""
    shape = None
    for number, (seconds, frame) in enumerate(items):
        yield seconds, frame, number % every == 0 or frame.shape != shape
        shape = frame.shape


def _predict(predictor: Predictor, item: tuple[float, np.ndarray, bool]) -> np.ndarray | None:
    _, frame, wanted = item
    return predictor.predict(frame) if wanted else None


def _write_frame(
    predictor: Predictor,
    frame: np.ndarray,
    labels: np.ndarray,
    seconds: float,
    number: int,
    painted: PaintedVideo | None,
    folders: dict[str, Path],
    record: dict,
) -> None:
    for kind, folder in folders.items():
        write_picture(folder / f'{number:06}.png', predictor, frame, labels, kind, record)
    if painted is not None:
        painted.write(frame, labels, seconds)


def write_picture(
    path: Path, predictor: Predictor, frame: np.ndarray, labels: np.ndarray, kind: str, record: dict
) -> None:
    """Write the 'labels' or the 'painted' picture of a frame as PNG, with a record.

    Raises:
        StorageError: The file cannot be written.
    """
    picture = labels if kind == 'labels' else predictor.paint(frame, labels)
    write_bytes(path, with_record(encode_png(picture), record))


def video_path(out: Path, source: Source, codec: str) -> Path:
    """Return the path of a source's painted video."""
    return out / f'{source.name}{CODECS[codec]}'
