"""Records in files, and the check of which files a run may replace."""

import os
import threading

import cv2
import numpy as np
import pytest

from mmseg_erfnet.errors import StorageError, UsageError
from mmseg_erfnet.files import append_record, check_targets, read_record, shown, with_record, write_if_absent
from mmseg_erfnet.images import encode_png


@pytest.fixture
def png() -> bytes:
    return encode_png(np.arange(256, dtype=np.uint8).reshape(16, 16))


def test_a_record_in_a_png_changes_no_pixel(tmp_path, png):
    record = {'model': 'Straße "x"', 'frames': 3, 'none': None}
    (tmp_path / 'x.png').write_bytes(with_record(png, record))
    assert read_record(tmp_path / 'x.png') == record
    pixels = cv2.imread(str(tmp_path / 'x.png'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(pixels.ravel(), np.arange(256))


@pytest.mark.parametrize(('suffix', 'codec'), [('.mp4', 'mp4v'), ('.webm', 'VP80')])
def test_a_record_in_a_video_changes_no_frame(tmp_path, suffix, codec):
    path = tmp_path / f'x{suffix}'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10, (32, 16))
    if not writer.isOpened():
        pytest.skip(f'OpenCV here writes no {codec}')
    for _ in range(5):
        writer.write(np.zeros((16, 32, 3), np.uint8))
    writer.release()
    assert read_record(path) is None
    append_record(path, {'frames': 5})
    assert read_record(path) == {'frames': 5}
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    assert sum(capture.grab() for _ in range(10)) == 5


def test_files_without_a_record(tmp_path, png):
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'plain.png').write_bytes(png)
    (tmp_path / 'broken.png').write_bytes(png[:33] + b'mmseg_erfnet\0{"a": ')
    (tmp_path / 'empty').touch()
    for name in ('pipe', 'plain.png', 'broken.png', 'empty', 'absent', '.'):
        assert read_record(tmp_path / name) is None


def test_targets_that_may_be_written(tmp_path, png):
    (tmp_path / 'ours.png').write_bytes(with_record(png, {'model': 'm'}))
    check_targets([tmp_path / 'ours.png', tmp_path / 'new/x.png', tmp_path / ('x' * 300)], [tmp_path / 'in.png'])


def test_targets_that_may_not_be_written(tmp_path, png):
    mine, source = tmp_path / 'mine.png', tmp_path / 'in.png'
    mine.write_bytes(png)
    source.write_bytes(with_record(png, {'model': 'm'}))
    (tmp_path / 'link.png').symlink_to(source)
    (tmp_path / 'pipe').symlink_to('/dev/null')
    for targets, sentence in (
        ([mine], r'mine\.png exists, and is not a result of an earlier run; choose another --out, or remove it'),
        ([source], r'in\.png is an input, and would be replaced'),
        ([tmp_path / 'link.png'], r'link\.png is an input'),
        ([tmp_path / 'new.png'] * 2, r'Two results would be written to \S+new\.png'),
        ([tmp_path], 'exists, and is not a result'),
        ([tmp_path / 'pipe'], 'exists, and is not a result'),
    ):
        with pytest.raises(UsageError, match=sentence):
            check_targets(targets, [source])
    check_targets([mine], ours=lambda path: path == mine)


def test_of_many_that_write_a_file_one_is_first(tmp_path):
    target, wrote = tmp_path / 'new/x.json', []
    barrier = threading.Barrier(8)

    def attempt(number: int) -> None:
        barrier.wait()
        if write_if_absent(target, str(number).encode()):
            wrote.append(number)

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrote) == 1
    assert target.read_text() == str(wrote[0])
    assert [path.name for path in target.parent.iterdir()] == ['x.json']
    (tmp_path / 'file').touch()
    with pytest.raises(StorageError, match=r'file/x\S* cannot be written'):
        write_if_absent(tmp_path / 'file/x', b'')


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        (os.fsdecode(b'caf\xe9.png'), 'caf\\xe9.png'),
        ('a\nb\x1b[2J\u202e.png', 'a\\nb\\x1b[2J\\u202e.png'),
        ('\ud800', '\\ud800'),  # a name in JSON can contain half a surrogate pair
        ('Straße 道路.png', 'Straße 道路.png'),
    ],
)
def test_paths_are_shown_as_one_line(name, text):
    assert shown(name) == text
