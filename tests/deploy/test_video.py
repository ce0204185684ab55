"""Clips in and out: damaged ones, those with uneven times, and what browsers play."""

import functools
import importlib.util
import json
import os
import queue
import subprocess
import threading
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.browser import CHROMIUM, FLAGS

from mmseg_erfnet.deploy import Predictor
from mmseg_erfnet.deploy.predict import predict
from mmseg_erfnet.deploy.sources import Source
from mmseg_erfnet.deploy.video import CODECS, Clip, PaintedVideo, default_codec, predict_video
from mmseg_erfnet.errors import DataError, StorageError, UsageError
from mmseg_erfnet.files import read_record, replacing

needs_av = pytest.mark.skipif(importlib.util.find_spec('av') is None, reason='needs PyAV: pip install av')
HERE = [pytest.param(codec, marks=needs_av if codec == 'h264' else ()) for codec in CODECS]


class Brightness:
    """Class 1 where a frame is bright."""

    def __init__(self):
        self.calls = 0

    def run(self, frames: np.ndarray) -> np.ndarray:
        self.calls += 1
        return (frames.mean(3) > 128).astype(np.uint8)


def predictor(**metadata) -> Predictor:
    defaults = dict(
        classes=['dark', 'bright'], palette=[[0, 0, 200], [200, 0, 0]], output='labels', size=None, batch=None
    )
    return Predictor.of('brightness', Brightness(), defaults | metadata)


def clip(path: Path, frames: int = 60, codec: str = 'mp4v', size: tuple[int, int] = (48, 64)) -> Path:
    """Noise that moves; the first half is dark, the second bright."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 12, size[::-1])
    if not writer.isOpened():
        pytest.skip(f'OpenCV here writes no {codec}')
    noise = np.random.default_rng(0).integers(0, 90, (*size, 3), dtype=np.uint8)
    for index in range(frames):
        writer.write(np.roll(noise, index, 1) + np.uint8(160 * (index >= frames // 2)))
    writer.release()
    return path


def times(path: Path) -> list[float]:
    capture, found = cv2.VideoCapture(str(path)), []
    while capture.grab():
        found.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    return found


def written(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*.png'))


@pytest.mark.parametrize('codec', HERE)
def test_painted_video(tmp_path, codec):
    source, target = clip(tmp_path / 'drive.avi', 20, 'MJPG'), tmp_path / f'out{CODECS[codec]}'
    result = predict_video(predictor(), source, target, codec=codec, record={'model': 'm'})
    assert (result.frames, result.fault, result.stopped) == (20, None, False)
    assert result.seconds > 0
    capture = cv2.VideoCapture(str(target))
    frames = [capture.read()[1] for _ in range(20)]
    assert not capture.grab()
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(12, abs=0.1)
    height, width = frames[0].shape[:2]
    assert width == 64
    assert height > 48, 'the legend is below'
    # 60 % of the class's colour, 40 % of the frame: blue over dark, red over bright.
    dark, bright = frames[2][:40].mean((0, 1)), frames[17][:40].mean((0, 1))
    assert dark[0] > dark[2] + 80
    assert bright[2] > bright[0] + 80
    assert read_record(target) == {'model': 'm', 'frames': 20, 'whole': True}


@pytest.mark.parametrize('codec', HERE)
def test_odd_sizes_are_not_cut(tmp_path, codec):
    path = tmp_path / f'x{CODECS[codec]}'
    with PaintedVideo(predictor(), path, codec, 12) as video:
        for index in range(3):
            video.write(np.full((47, 63, 3), 255, np.uint8), np.ones((47, 63), np.uint8), index / 12)
    capture = cv2.VideoCapture(str(path))
    frames = [capture.read()[1] for _ in range(3)]
    assert frames[0].shape[1] == 64
    assert frames[0].shape[0] % 2 == 0
    assert abs(int(frames[2][20, 63, 2]) - int(frames[2][20, 62, 2])) < 16, 'the last column is repeated'


def test_the_default_plays_in_browsers():
    assert default_codec() == ('h264' if importlib.util.find_spec('av') else 'vp8')


def test_h264_without_pyav(monkeypatch, tmp_path):
    monkeypatch.setattr('mmseg_erfnet.deploy.video.importlib.util.find_spec', lambda name: None)
    assert default_codec() == 'vp8'
    with pytest.raises(UsageError, match=r'H\.264 needs PyAV: pip install av .*; or choose --codec vp8'):
        predict_video(predictor(), clip(tmp_path / 'x.mp4', 3), tmp_path / 'y.mp4', codec='h264')


@needs_av
def test_h264_is_what_browsers_decode(tmp_path):
    import av

    predict_video(predictor(), clip(tmp_path / 'x.mp4', 5), tmp_path / 'y.mp4', codec='h264')
    with av.open(str(tmp_path / 'y.mp4')) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ('h264', 'yuv420p')


@pytest.mark.parametrize('parallel', [1, 3])
def test_each_nth_frame_is_computed_and_its_labels_are_held(parallel, tmp_path):
    model = predictor()
    model.parallel = parallel
    result = predict_video(model, clip(tmp_path / 'x.mp4', 20), None, {'labels': tmp_path / 'labels'}, every=4)
    assert (result.frames, model._backend.calls) == (20, 5)
    means = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED).mean() for path in sorted((tmp_path / 'labels').iterdir())]
    # The picture turns bright at frame 10; the next that is computed is frame 12.
    assert [index for index in range(20) if means[index] > 0.5] == list(range(12, 20))


def test_frames_and_labels_on_request(tmp_path):
    source = clip(tmp_path / 'drive.mp4', 7)
    result = predict(predictor(), str(source), tmp_path / 'out', ['video', 'labels'], codec='mp4v')
    assert written(tmp_path / 'out') == [f'labels/drive/{index:06}.png' for index in range(7)]
    assert result.pictures == [tmp_path / 'out/drive.mp4']
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['drive.mp4', 'labels', 'predicted_by.json']
    predict(predictor(), str(source), tmp_path / 'short', ['labels'], max_frames=3)
    assert len(written(tmp_path / 'short')) == 3


def test_a_clip_is_predicted_once(tmp_path):
    source, model = clip(tmp_path / 'drive.mp4', 5), predictor()
    for options, kept, calls in (
        ({}, 0, 5),
        ({}, 1, 5),
        (dict(overwrite=True), 0, 10),
        (dict(max_frames=3), 0, 13),
        (dict(max_frames=3), 1, 13),
    ):
        result = predict(model, str(source), tmp_path / 'out', codec='mp4v', **options)
        assert (result.kept, model._backend.calls) == (kept, calls)


def test_clips_among_pictures(tmp_path):
    (tmp_path / 'in').mkdir()
    clip(tmp_path / 'in/a.mp4', 3)
    clip(tmp_path / 'in/b.avi', 3, 'MJPG')
    cv2.imwrite(str(tmp_path / 'in/c.png'), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / 'in/d.mp4').write_bytes(b'junk')
    result = predict(predictor(), str(tmp_path / 'in'), tmp_path / 'out', codec='mp4v')
    assert [path.name for path in result.pictures] == ['c.png', 'a.mp4', 'b.mp4']
    (failure,) = result.failures
    assert failure.endswith('in/d.mp4 cannot be opened: it is neither an image nor a complete video.')


# --- Damage -----------------------------------------------------------------------------------------------------------


def damaged(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    if how == 'cut':
        del data[middle:]
    else:
        data[middle : middle + len(data) // 8] = bytes(len(data) // 8)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ('name', 'codec', 'how'),
    [
        ('x.avi', 'MJPG', 'cut'),
        ('x.avi', 'MJPG', 'zeros'),
        ('x.webm', 'VP80', 'cut'),
        ('x.webm', 'VP80', 'zeros'),
        ('x.mp4', 'mp4v', 'zeros'),
    ],
)
def test_a_damaged_clip_is_read_to_its_end_and_named(tmp_path, capfd, name, codec, how):
    source = clip(tmp_path / name, 60, codec, (96, 128))
    assert predict_video(predictor(), source, tmp_path / 'whole.mp4', codec='mp4v').fault is None
    damaged(source, how)
    capfd.readouterr()
    result = predict(predictor(), str(source), tmp_path / 'out', codec='mp4v')
    (failure,) = result.failures
    assert f'{name} is damaged or truncated: ' in failure
    count = read_record(tmp_path / 'out/x.mp4')['frames']
    assert f': {count} of ' in failure
    assert (25 <= count <= 45) if how == 'cut' else (40 <= count < 60)
    assert read_record(tmp_path / 'out/x.mp4')['whole'] is False
    seen = times(tmp_path / 'out/x.mp4')
    assert len(seen) >= count, 'what could be read plays'
    if how == 'zeros' and name != 'x.avi':  # whose times are counted by frames
        assert seen[-1] == pytest.approx(59 / 12, abs=0.2), 'what comes after the damage is there, at its time'
    assert '[mpeg4' not in capfd.readouterr().err


def test_a_clip_without_its_index_is_refused(tmp_path):
    source = clip(tmp_path / 'x.mp4')
    damaged(source, 'cut')
    result = predict(predictor(), str(source), tmp_path / 'out')
    assert [failure.rsplit('/', 1)[1] for failure in result.failures] == [
        'x.mp4 cannot be opened: it is neither an image nor a complete video.'
    ]
    assert result.pictures == []


@needs_av
@pytest.mark.parametrize('codec', HERE)
@pytest.mark.parametrize('container', ['mp4', 'mkv'])
def test_uneven_times_keep_the_length(tmp_path, codec, container):
    import av

    source = tmp_path / f'uneven.{container}'
    stamps = [0, 1, 2, 12, 13, 30, 31, 32, 33, 60]  # tenths of a second
    with av.open(str(source), 'w') as output:
        stream = output.add_stream('libx264', rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        stream.codec_context.time_base = Fraction(1, 10)
        for index, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * index, np.uint8), format='bgr24')
            frame.pts, frame.time_base = stamp, Fraction(1, 10)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    result = predict_video(predictor(), source, tmp_path / f'out{CODECS[codec]}', codec=codec)
    assert (result.frames, result.fault) == (10, None)
    seen = times(tmp_path / f'out{CODECS[codec]}')
    assert seen[-1] == pytest.approx(6.0, abs=0.7)
    if codec == 'h264':
        np.testing.assert_allclose(np.array(seen) * 10, stamps, atol=0.1)


def test_names_that_are_no_utf8(tmp_path):
    name = os.fsdecode(b'caf\xe9.mp4')
    clip(tmp_path / 'x.mp4', 4).rename(tmp_path / name)
    folder = tmp_path / os.fsdecode(b'\xff')
    for codec in ('mp4v', default_codec()):
        result = predict(predictor(), str(tmp_path / name), folder / codec, codec=codec)
        assert result.failures == []
        assert read_record(result.pictures[0])['frames'] == 4


# --- Failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('codec', HERE)
def test_a_model_that_fails_leaves_nothing(tmp_path, codec):
    source = clip(tmp_path / 'x.avi', 4, 'MJPG')
    with pytest.raises(DataError, match='only takes frames of 8x8'):
        predict_video(predictor(size=[8, 8]), source, tmp_path / f'out/y{CODECS[codec]}', codec=codec)
    assert list((tmp_path / 'out').iterdir()) == []


def test_a_video_that_was_not_written_whole_is_found(tmp_path, monkeypatch):
    """OpenCV's writer does not say that the disk was full."""

    def write() -> None:
        with replacing(tmp_path / 'y.webm') as path, PaintedVideo(predictor(), path, 'vp8', 12) as video:
            for index in range(20):
                video.write(np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64), np.uint8), index / 12)
                if index == 10:
                    monkeypatch.setattr(video._writer, '_writer', Deaf(video._writer._writer))

    with pytest.raises(StorageError, match=r'10 of 20 frames are there\): make room'):
        write()
    assert list(tmp_path.iterdir()) == []


class Deaf:
    """A writer that loses what it is given."""

    def __init__(self, writer):
        self.release = writer.release

    def write(self, picture):
        pass


def test_a_stream_that_changes_its_size(tmp_path):
    with PaintedVideo(predictor(), tmp_path / 'x.mp4', 'mp4v', 12) as video:
        for index, size in enumerate(((48, 64), (24, 32), (48, 64))):
            video.write(np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8), index / 12)
    assert len(times(tmp_path / 'x.mp4')) == 3


def test_a_camera_that_is_not_there():
    with pytest.raises(DataError, match='camera 987 cannot be opened: connect it'):
        Clip(Source('987', 'camera987', 'live'))


def test_stopped_before_the_first_frame(tmp_path):
    with pytest.raises(DataError, match='was stopped before its first frame'):
        predict_video(predictor(), clip(tmp_path / 'x.mp4', 4), tmp_path / 'y.mp4', codec='mp4v', stopped=lambda: True)
    assert not (tmp_path / 'y.mp4').exists()


def test_an_address_of_a_file_is_a_clip(tmp_path):
    clip(tmp_path / 'x.mp4', 9)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}/x.mp4'
        result = predict(predictor(), address, tmp_path / 'out', codec='mp4v')
        server.shutdown()
    assert result.failures == []
    (video,) = result.pictures
    assert video.name == f'127.0.0.1_{server.server_port}_x.mp4.mp4'
    assert times(video)[-1] == pytest.approx(8 / 12, abs=0.01)
    # It is not known whether it is the same again.
    with pytest.raises(UsageError, match=r'is an earlier result of \S+: choose another --out, or --overwrite it'):
        predict(predictor(), address, tmp_path / 'out', codec='mp4v')


class Camera:
    """A capture device that gives a number of frames and then no more."""

    def __init__(self, frames: int):
        self.left = frames

    def isOpened(self):
        return True

    def get(self, key):
        return -1.0

    def read(self):
        self.left -= 1
        return (True, np.zeros((48, 64, 3), np.uint8)) if self.left >= 0 else (False, None)

    def release(self):
        pass


@pytest.mark.parametrize('end', ['lost', 'asked'])
def test_the_end_of_a_camera(tmp_path, monkeypatch, end):
    """Ctrl-C is its ordinary end; a camera that is unplugged is named."""
    source = Source('0', 'camera0', 'live')
    writer = cv2.VideoCapture
    monkeypatch.setattr(
        'mmseg_erfnet.deploy.video.cv2.VideoCapture', lambda place, *rest: Camera(9) if place == 0 else writer(place)
    )
    model = predictor()
    stopped = (lambda: model._backend.calls >= 5) if end == 'asked' else (lambda: False)
    result = predict_video(model, source, tmp_path / 'x.mp4', codec='mp4v', stopped=stopped)
    assert not result.stopped
    if end == 'asked':
        assert (result.frames, result.fault) == (5, None)
    else:
        assert result.frames == 9
        assert result.fault.startswith('camera 0 gave no further frame after 9: connect it')


def test_pictures_of_an_older_and_longer_clip_do_not_stay(tmp_path):
    source = clip(tmp_path / 'x.mp4', 9)
    predict(predictor(), str(source), tmp_path / 'out', ['labels'])
    (tmp_path / 'out/labels/x/notes.txt').touch()
    clip(source, 6)
    predict(predictor(), str(source), tmp_path / 'out', ['labels'])
    assert written(tmp_path / 'out') == [f'labels/x/{index:06}.png' for index in range(6)]
    assert (tmp_path / 'out/labels/x/notes.txt').exists()
    # The same clip, cut short: what is beyond is still right.
    predict(predictor(), str(source), tmp_path / 'out', ['labels'], max_frames=2)
    assert len(written(tmp_path / 'out')) == 6


# A page that seeks a video to its end and reports what came of it.
PLAYER = b"""<video muted src="video"></video><script>
const video = document.querySelector('video');
const say = what => fetch('said', {method: 'POST', body: JSON.stringify(what)});
video.onerror = () => say({error: video.error.message});
video.onloadeddata = () => { video.currentTime = video.duration - 0.05; };
video.onseeked = () => say({width: video.videoWidth, height: video.videoHeight, duration: video.duration});
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason='needs Chromium')
@pytest.mark.parametrize('codec', ['vp8', pytest.param('h264', marks=needs_av)])
def test_a_browser_plays_it(tmp_path, codec):
    target, said = tmp_path / f'x{CODECS[codec]}', queue.Queue()
    predict_video(predictor(), clip(tmp_path / 'in.mp4', 24), target, codec=codec)

    class Server(BaseHTTPRequestHandler):
        def do_GET(self):
            kind, body = ('video/*', target.read_bytes()) if self.path == '/video' else ('text/html', PLAYER)
            self.send_response(200)
            self.send_header('Content-Type', kind)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            said.put(json.loads(self.rfile.read(int(self.headers['Content-Length']))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(('127.0.0.1', 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}/'
        flags = [flag for flag in FLAGS if 'host-resolver' not in flag]
        browser = subprocess.Popen(
            [CHROMIUM, *flags, '--remote-debugging-port=0', f'--user-data-dir={tmp_path / "profile"}', address],
            stderr=subprocess.DEVNULL,
        )
        try:
            found = said.get(timeout=60)
        finally:
            browser.kill()
            browser.wait()
            server.shutdown()
    assert 'error' not in found
    assert (found['width'], found['height'] > 48) == (64, True)
    assert found['duration'] == pytest.approx(2, abs=0.1)
