"""CamVid from each of its usual forms, from damaged ones, from a server that breaks off."""

import http.server
import io
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.tools import run_tool
from mmseg_erfnet.datasets.prepare import ARCHIVES, download_camvid, prepare_camvid

from mmseg_erfnet.datasets import CamVid11Dataset, CamVidDataset, prepare, standard_split
from mmseg_erfnet.datasets.camvid import FRAMES, LABELS, PALETTE, PALETTE11
from mmseg_erfnet.datasets.synthetic import render
from mmseg_erfnet.datasets.transforms import LoadSegLabels
from mmseg_erfnet.errors import DataError, UsageError

NAMES = {split: standard_split(split)[:number] for split, number in (('train', 3), ('val', 2), ('test', 1))}
ALL = sorted(name for names in NAMES.values() for name in names)


@pytest.fixture(scope='module')
def scenes() -> dict[str, tuple[bytes, bytes]]:
    """Frame and label of six names of CamVid, as PNG."""
    return {
        name: tuple(cv2.imencode('.png', pixels)[1].tobytes() for pixels in render((48, 64), 0, index))
        for index, name in enumerate(ALL)
    }


@pytest.fixture
def official(scenes, tmp_path) -> Path:
    """What the official archives unpack to."""
    root = tmp_path / 'source'
    for name, (frame, label) in scenes.items():
        put(root / FRAMES / f'{name}.png', frame)
        put(root / LABELS / f'{name}_L.png', label)
    return root


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def zip_bytes(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def archives(scenes: dict) -> dict[str, bytes]:
    """The official archives: the frames' has a folder inside, the labels' has not."""
    return {
        f'{FRAMES}.zip': zip_bytes({f'{FRAMES}/{name}.png': frame for name, (frame, _) in scenes.items()}),
        f'{LABELS}.zip': zip_bytes({f'{name}_L.png': label for name, (_, label) in scenes.items()}),
    }


def contents(root: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob('*')
        if path.is_file()
    }


def check(out: Path, scenes: dict) -> None:
    """`out` is the canonical layout of the scenes, with splits, and nothing else is beside it."""
    expected = {f'{FRAMES}/{name}.png': frame for name, (frame, _) in scenes.items()}
    expected |= {f'{LABELS}/{name}_L.png': label for name, (_, label) in scenes.items()}
    found = {path: data for path, (data, _) in contents(out).items()}
    assert {path: data for path, data in found.items() if not path.startswith('splits')} == expected
    splits = {path: data.decode().split() for path, data in found.items() if path.startswith('splits')}
    assert splits == {
        'splits/train.txt': NAMES['train'],
        'splits/val.txt': NAMES['val'],
        'splits/test.txt': NAMES['test'],
        'splits/trainval.txt': sorted(NAMES['train'] + NAMES['val']),
    }
    assert not [path.name for path in out.parent.iterdir() if path.name.endswith('.preparing')]


def test_official_folders(official, scenes, tmp_path):
    prepared = prepare_camvid(official, tmp_path / 'out')
    check(tmp_path / 'out', scenes)
    assert str(prepared) == (
        f'6 frames in {tmp_path}/out, 6 of them among the 701 of CamVid.\n'
        'Frames are missing: the splits are cut to what is there.\n'
        'Splits: train 3, val 2, test 1, trainval 5.'
    )
    dataset = CamVidDataset(data_root=str(tmp_path / 'out'), ann_file='splits/trainval.txt', pipeline=[LoadSegLabels()])
    assert len(dataset) == 5
    assert dataset[0]['gt_seg_map'].shape == (48, 64)


def test_official_archives(scenes, tmp_path):
    for name, data in archives(scenes).items():
        put(tmp_path / 'source' / name, data)
    prepare_camvid(tmp_path / 'source', tmp_path / 'out')
    check(tmp_path / 'out', scenes)


def test_archives_beside_what_was_unpacked_from_them(official, scenes, tmp_path):
    for name, data in archives(scenes).items():
        put(official / name, data)
    put(official / '__MACOSX' / f'._{ALL[0]}.png', b'not an image')
    prepare_camvid(official, tmp_path / 'out')
    check(tmp_path / 'out', scenes)


@pytest.mark.parametrize('suffix', ['_L', ''])
def test_folders_by_split_with_painted_labels(scenes, tmp_path, suffix):
    for split, names in NAMES.items():
        for name in names:
            put(tmp_path / 'CamVid' / split / f'{name}.png', scenes[name][0])
            put(tmp_path / 'CamVid' / f'{split}_labels' / f'{name}{suffix}.png', scenes[name][1])
    prepare_camvid(tmp_path / 'CamVid', tmp_path / 'out')
    check(tmp_path / 'out', scenes)


def test_segnets_indexed_labels(scenes, tmp_path):
    ids = np.arange(48 * 64).reshape(48, 64).astype(np.uint8) % 12
    for split, names in NAMES.items():
        for name in names:
            put(tmp_path / 'CamVid' / split / f'{name}.png', scenes[name][0])
            put(tmp_path / 'CamVid' / f'{split}annot' / f'{name}.png', cv2.imencode('.png', ids)[1].tobytes())
    out = tmp_path / 'out'
    prepare_camvid(tmp_path / 'CamVid', out)
    painted = cv2.imread(str(out / LABELS / f'{ALL[0]}_L.png'))[..., ::-1]
    np.testing.assert_array_equal(painted, np.array([*PALETTE11, [0, 0, 0]])[ids])
    dataset = CamVid11Dataset(data_root=str(out), ann_file='splits/train.txt', pipeline=[LoadSegLabels()])
    np.testing.assert_array_equal(dataset[0]['gt_seg_map'], np.where(ids == 11, 255, ids))
    # 12 is no id of SegNet's.
    label = next((tmp_path / 'CamVid/trainannot').iterdir())
    put(label, cv2.imencode('.png', ids + 1)[1].tobytes())
    with pytest.raises(DataError, match=rf"{label.name} has ids that are not SegNet's \(12; 0 to 10 are the classes"):
        prepare_camvid(tmp_path / 'CamVid', tmp_path / 'other')


def test_frames_of_other_formats_become_png(official, scenes, tmp_path):
    frame = cv2.imdecode(np.frombuffer(scenes[ALL[0]][0], np.uint8), cv2.IMREAD_COLOR)
    (official / FRAMES / f'{ALL[0]}.png').unlink()
    cv2.imwrite(str(official / FRAMES / f'{ALL[0]}.bmp'), frame)
    prepare_camvid(official, tmp_path / 'out')
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'out' / FRAMES / f'{ALL[0]}.png')), frame)


def test_a_second_run_changes_nothing(official, tmp_path):
    out = tmp_path / 'out'
    prepare_camvid(official, out)
    before = contents(out)
    again = prepare_camvid(official, out)
    assert contents(out) == before
    assert str(again).startswith(f'{out} is up to date with its 6 frames; nothing was changed.')


def test_what_was_unpacked_in_place_gets_its_splits(official, scenes):
    prepare_camvid(official, official)
    check(official, scenes)


def test_another_split_replaces_the_first_and_leaves_the_frames(official, tmp_path):
    out = tmp_path / 'out'
    prepare_camvid(official, out)
    before = contents(out)
    prepared = prepare_camvid(official, out, split='random')
    assert {split: len(names) for split, names in prepared.splits.items()} == {'train': 5, 'val': 1, 'trainval': 6}
    assert 'There is no split test' in str(prepared)
    after = contents(out)
    assert not (out / 'splits/test.txt').exists()
    assert {path for path in after if after[path] != before[path]} == {f'splits/{name}.txt' for name in prepared.splits}
    with pytest.raises(UsageError, match="'standard' or 'random', not 'all'"):
        prepare_camvid(official, out, split='all')


def test_what_else_is_in_the_target_is_not_overwritten(official, tmp_path):
    out = tmp_path / 'out'
    prepare_camvid(official, out)
    extra = out / FRAMES / 'mine.png'
    shutil.copy(out / FRAMES / f'{ALL[0]}.png', extra)
    with pytest.raises(DataError, match=r'holds frames that the source lacks \(mine\); remove it or choose another'):
        prepare_camvid(official, out)
    extra.unlink()
    damaged = out / FRAMES / f'{ALL[0]}.png'
    damaged.write_bytes(b'')
    with pytest.raises(DataError, match=rf'{damaged.name} is missing or differs'):
        prepare_camvid(official, out)
    assert damaged.read_bytes() == b''


def test_images_without_a_counterpart_are_left_out_and_named(official, tmp_path):
    (official / LABELS / f'{ALL[0]}_L.png').unlink()
    (official / FRAMES / f'{ALL[1]}.png').unlink()
    prepared = prepare_camvid(official, tmp_path / 'out')
    assert prepared.frames == 4
    assert '2 images without a counterpart were left out: ' in str(prepared)
    assert all(name in str(prepared) for name in ALL[:2])
    assert ALL[0] not in (tmp_path / 'out/splits/trainval.txt').read_text()


def spoil_pairs(root: Path) -> None:
    shutil.rmtree(root / LABELS)


def spoil_size(root: Path) -> None:
    path = root / LABELS / f'{ALL[0]}_L.png'
    cv2.imwrite(str(path), cv2.imread(str(path))[:40])


def spoil_colour(root: Path) -> None:
    path = root / LABELS / f'{ALL[0]}_L.png'
    pixels = cv2.imread(str(path))
    pixels[0, :2] = (3, 2, 1)
    cv2.imwrite(str(path), pixels)


def spoil_frame(root: Path) -> None:
    path = root / FRAMES / f'{ALL[0]}.png'
    path.write_bytes(path.read_bytes()[:-30])


def spoil_names(root: Path) -> None:
    shutil.copy(root / FRAMES / f'{ALL[0]}.png', root / f'{ALL[0]}.png')


def spoil_archive(root: Path) -> None:
    put(root / 'more.zip', b'PK no archive')


@pytest.mark.parametrize(
    ('spoil', 'sentence'),
    [
        (
            spoil_pairs,
            r'holds no frame with its label \(6 frames and 0 labels are there\); give a folder with 701_Stills',
        ),
        (spoil_size, rf'{ALL[0]}_L\.png is 64x40, but .*{ALL[0]}\.png is 64x48; restore the pair'),
        (spoil_colour, r"colours that are not CamVid's: RGB \(1, 2, 3\) \(2 pixels\); put the original"),
        (spoil_frame, rf'{ALL[0]}\.png is truncated at \d+ bytes'),
        (spoil_names, f'has {ALL[0]} twice, .*keep the right one'),
        (spoil_archive, r'more\.zip is no archive or is damaged .*fetch it again'),
    ],
)
def test_bad_sources_leave_nothing(official, tmp_path, spoil, sentence):
    spoil(official)
    with pytest.raises(DataError, match=sentence):
        prepare_camvid(official, tmp_path / 'data/out')
    assert not any((tmp_path / 'data').glob('*'))


def test_colours_outside_the_palette_can_be_accepted(official, tmp_path):
    spoil_colour(official)
    prepare_camvid(official, tmp_path / 'out', unknown='ignore')
    name = f'{LABELS}/{ALL[0]}_L.png'
    assert (tmp_path / 'out' / name).read_bytes() == (official / name).read_bytes()


def test_foreign_frames_need_a_random_split(official, tmp_path):
    for path in [*official.rglob('*.png')]:
        path.rename(path.with_name(f'mine_{path.name}'))
    with pytest.raises(DataError, match=r"none of the 6 frames \(mine_.*\.\.\.\) bears the name of one of CamVid's"):
        prepare_camvid(official, tmp_path / 'out')
    prepared = prepare_camvid(official, tmp_path / 'out', split='random')
    assert (prepared.frames, prepared.standard) == (6, 0)


@pytest.mark.parametrize('source', ['absent', 'file.txt'])
def test_no_source(tmp_path, source):
    (tmp_path / 'file.txt').write_text('text')
    with pytest.raises(DataError, match=rf'{source} (does not exist|is no archive)'):
        prepare_camvid(tmp_path / source, tmp_path / 'out')


@pytest.mark.parametrize('member', ['../evil.png', '/evil.png', 'a/../../evil.png', '..\\evil.png', '../evil.txt'])
def test_archives_that_would_write_elsewhere(scenes, tmp_path, member):
    for name, data in archives(scenes).items():
        put(tmp_path / 'source' / name, data)
    put(tmp_path / 'source/x.zip', zip_bytes({member: scenes[ALL[0]][0]}))
    before = contents(tmp_path)
    with pytest.raises(DataError, match=r'x\.zip wants to write outside its folder'):
        prepare_camvid(tmp_path / 'source', tmp_path / 'out')
    assert contents(tmp_path) == before
    assert not Path('/evil.png').exists()


@pytest.mark.parametrize('damage', ['data', 'end', 'bomb'])
def test_damaged_archives(scenes, tmp_path, damage, monkeypatch):
    for name, data in archives(scenes).items():
        if damage == 'data':
            data = data[:200] + bytes(20) + data[220:]
        elif damage == 'end':
            data = data[: len(data) // 2]
        put(tmp_path / 'source' / name, data)
    if damage == 'bomb':
        monkeypatch.setattr(prepare, 'MAX_BYTES', 100)
    with pytest.raises(DataError, match=rf'({FRAMES}|{LABELS})\.zip.*(fetch it again|claims \d+ bytes)'):
        prepare_camvid(tmp_path / 'source', tmp_path / 'out')
    assert [path.name for path in tmp_path.iterdir()] == ['source']


def test_full_disk(official, tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(DataError, match=r'out could not be made \(.*No space left on device\); it is as it was'):
        prepare_camvid(official, tmp_path / 'out')
    assert [path.name for path in tmp_path.iterdir()] == ['source']


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_leaves_nothing_half_done(official, scenes, tmp_path, number):
    """Killed while it waits in the middle of its work; a later run is as if nothing had been."""
    go_on = tmp_path.with_name(f'{tmp_path.name}.go_on')
    code = (
        'import pathlib, runpy, sys, time\n'
        'from mmseg_erfnet.datasets import prepare\n'
        'write = prepare._write\n'
        'def slow(target, unknown, name, *files):\n'
        f'    if name == {ALL[-1]!r}:\n'
        "        print('waiting', flush=True)\n"
        f'        while not pathlib.Path({str(go_on)!r}).exists():\n'
        '            time.sleep(0.05)\n'
        '    write(target, unknown, name, *files)\n'
        'prepare._write = slow\n'
        f'sys.argv = ["prepare", {str(official)!r}, "--out", {str(tmp_path / "out")!r}]\n'
        'from mmseg_erfnet.cli.prepare_camvid import main\nmain()\n'
    )
    # Tests that run in a shell's background ignore Ctrl-C, and so would what they start.
    process = subprocess.Popen(
        [sys.executable, '-c', code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while process.stdout.readline() != 'waiting\n':
        assert process.poll() is None, process.stderr.read()
    process.send_signal(number)
    go_on.touch()  # the signal is there by now
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert not (tmp_path / 'out').exists()
    if number != signal.SIGKILL:
        assert errors.strip().endswith('out is as it was')
        assert 'Traceback' not in errors
        assert [path.name for path in tmp_path.iterdir()] == ['source']
    prepare_camvid(official, tmp_path / 'out')
    check(tmp_path / 'out', scenes)


def test_tool(official, scenes, tmp_path, capsys):
    old = signal.getsignal(signal.SIGTERM)
    try:
        assert run_tool('prepare_camvid', official, '--out', tmp_path / 'out').status == 0
        assert 'Splits: train 3, val 2, test 1, trainval 5.' in capsys.readouterr().out
        check(tmp_path / 'out', scenes)
        spoil_size(official)
        assert 'restore the pair' in run_tool('prepare_camvid', official, '--out', tmp_path / 'out').sentence
    finally:
        signal.signal(signal.SIGTERM, old)


# Downloading


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
def server(scenes):
    with Server() as server:
        server.files = archives(scenes)
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


def test_download_and_prepare(server, scenes, tmp_path):
    download_camvid(tmp_path / 'source', addresses(server))
    prepare_camvid(tmp_path / 'source', tmp_path / 'out')
    check(tmp_path / 'out', scenes)
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
        match=rf'{name} could not be downloaded: .* broke off after 300 bytes, at the last '
        r'of 3 attempts\. Fetch it by other means, put it in',
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
    with pytest.raises(DataError, match=r'127\.0\.0\.1:9/x\.zip fails \(.*refused.*at the last of 2 attempts'):
        download_camvid(tmp_path, {'x.zip': ('http://127.0.0.1:9/x.zip',)}, attempts=2)


def test_palette_of_void_is_where_it_is_taken_from():
    assert prepare.SEGNET_COLOURS[11] == PALETTE[30] == [0, 0, 0]
