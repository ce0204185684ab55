"""Fetching CamVid's archives from servers that break off, answer wrongly, or are not there."""

import http.server
import io
import threading
import zipfile

import cv2
import pytest

from mmseg_erfnet.datasets.camvid import FRAMES, LABELS, standard_split
from mmseg_erfnet.datasets.preparation import download_camvid, prepare_camvid
from mmseg_erfnet.datasets.preparation.download import ARCHIVES
from mmseg_erfnet.datasets.synthetic import render
from mmseg_erfnet.errors import DataError

NAMES = standard_split('train')[:3]


@pytest.fixture(scope='module')
def archives() -> dict[str, bytes]:
    """The official archives with three frames: the frames' has a folder inside, the labels' has not."""
    scenes = {
        name: [cv2.imencode('.png', pixels)[1].tobytes() for pixels in render((48, 64), 0, index)]
        for index, name in enumerate(NAMES)
    }
    return {
        f'{FRAMES}.zip': zip_bytes({f'{FRAMES}/{name}.png': frame for name, (frame, _) in scenes.items()}),
        f'{LABELS}.zip': zip_bytes({f'{name}_L.png': label for name, (_, label) in scenes.items()}),
    }


def zip_bytes(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; breaks off after `limits[path]` bytes, as often as there are limits left."""

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.files: dict[str, bytes] = {}
        self.limits: dict[str, list[int]] = {}
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []

    def url(self, name: str) -> str:
        return f'http://127.0.0.1:{self.server_port}/{name}'


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name, wanted = self.path[1:], self.headers['Range']
        self.server.asked.append((name, wanted))
        if name not in self.server.files:
            self.send_error(404)
            return
        data, start = self.server.files[name], 0
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix('bytes=').removesuffix('-'))
            if start >= len(data):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header('Content-Length', str(len(data) - start))
        self.end_headers()
        limits = self.server.limits.get(name)
        self.wfile.write(data[start:][: limits.pop(0)] if limits else data[start:])

    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def server(archives):
    with Server() as server:
        server.files = dict(archives)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def addresses(server: Server) -> dict[str, tuple[str, ...]]:
    return {name: (server.url(name),) for name in ARCHIVES}


def test_official_addresses():
    assert set(ARCHIVES) == {'701_StillsRaw_full.zip', 'LabeledApproved_full.zip'}
    for name, urls in ARCHIVES.items():
        for url in urls:
            assert url.startswith(('http://mi.eng.cam.ac.uk/', 'http://web4.cs.ucl.ac.uk/'))
            assert url.endswith(f'/{name}')


def test_download_and_prepare(server, tmp_path):
    download_camvid(tmp_path / 'source', addresses(server))
    prepare_camvid(tmp_path / 'source', tmp_path / 'out')
    assert sorted(path.stem for path in (tmp_path / 'out' / FRAMES).iterdir()) == NAMES
    before = len(server.asked)
    download_camvid(tmp_path / 'source', addresses(server))
    assert len(server.asked) == before


@pytest.mark.parametrize('ranges', [True, False])
def test_a_broken_transfer_goes_on_where_it_stopped(server, tmp_path, ranges):
    name = f'{FRAMES}.zip'
    server.limits[name], server.ranges = [1000, 500], ranges
    download_camvid(tmp_path, addresses(server))
    assert (tmp_path / name).read_bytes() == server.files[name]
    asked = [wanted for path, wanted in server.asked if path == name]
    # A server that knows no ranges begins anew, and so does the file.
    assert asked == [None, 'bytes=1000-', 'bytes=1500-' if ranges else 'bytes=500-']
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(ARCHIVES)


def test_a_transfer_that_keeps_breaking_off(server, tmp_path):
    name = f'{FRAMES}.zip'
    server.limits[name] = [100] * 9
    with pytest.raises(
        DataError,
        match=rf'{name} could not be downloaded: .* broke off after 300 bytes, in the last '
        r'of 3 attempts\. Download it by other means, put it in',
    ):
        download_camvid(tmp_path, addresses(server), attempts=3)
    assert [path.name for path in tmp_path.iterdir()] == [f'{name}.part']
    server.limits.clear()
    download_camvid(tmp_path, addresses(server))
    assert (tmp_path / name).read_bytes() == server.files[name]


def test_what_is_left_of_another_file_does_no_harm(server, tmp_path):
    name = f'{FRAMES}.zip'
    (tmp_path / f'{name}.part').write_bytes(bytes(len(server.files[name]) + 9))
    download_camvid(tmp_path, addresses(server))
    assert (tmp_path / name).read_bytes() == server.files[name]
    (tmp_path / name).unlink()
    (tmp_path / f'{name}.part').write_bytes(bytes(700))
    with pytest.raises(DataError, match='damaged'):
        download_camvid(tmp_path, addresses(server))
    download_camvid(tmp_path, addresses(server))
    assert (tmp_path / name).read_bytes() == server.files[name]


@pytest.mark.parametrize(
    ('answer', 'sentence'),
    [
        (b'<!DOCTYPE html><title>Moved</title>', 'sent a web page instead of the archive'),
        (b'PK\3\4 but no more', 'sent a damaged archive'),
        (None, 'answers 404 Not Found'),
    ],
)
def test_wrong_answers(server, tmp_path, answer, sentence):
    name = f'{FRAMES}.zip'
    whole = server.files.pop(name)
    if answer is not None:
        server.files[name] = answer
    with pytest.raises(DataError, match=f'{name} could not be downloaded: .* {sentence}'):
        download_camvid(tmp_path, addresses(server))
    assert not list(tmp_path.iterdir())
    server.files['mirror'] = whole
    download_camvid(tmp_path, {name: (server.url(name), server.url('mirror'))})
    assert (tmp_path / name).read_bytes() == whole


def test_no_server(tmp_path):
    with pytest.raises(DataError, match=r'127\.0\.0\.1:9/x\.zip fails \(.*refused.*in the last of 2 attempts'):
        download_camvid(tmp_path, {'x.zip': ('http://127.0.0.1:9/x.zip',)}, attempts=2)
