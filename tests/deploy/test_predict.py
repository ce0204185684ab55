"""Prediction into files, with a model that tells classes by brightness."""

import sys

import cv2
import numpy as np
import pytest
from conftest import ROOT

from mmseg_erfnet.deploy import Predictor
from mmseg_erfnet.deploy.predict import find_images, predict
from mmseg_erfnet.errors import DataError, UsageError


class Brightness:
    """Class 1 where a frame is bright."""

    def __init__(self):
        self.calls = 0

    def run(self, frames: np.ndarray) -> np.ndarray:
        self.calls += 1
        return (frames.mean(3) > 128).astype(np.uint8)


def predictor(name: str = 'brightness', **metadata) -> Predictor:
    defaults = dict(
        classes=['dark', 'bright'], palette=[[0, 0, 200], [200, 0, 0]], output='labels', size=None, batch=None
    )
    return Predictor.of(name, Brightness(), defaults | metadata)


@pytest.fixture
def folder(tmp_path):
    """Six images, two of them in a folder below, and a file that is none."""
    for index in range(6):
        path = tmp_path / 'in' / ('below' if index > 3 else '') / f'{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((20, 30, 3), 40 * index, np.uint8))
    (tmp_path / 'in/notes.txt').write_text('no image')
    return tmp_path / 'in'


def written(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*.png'))


def test_folder(folder, tmp_path):
    assert predict(predictor(), str(folder), tmp_path / 'out') == []
    names = ['0', '1', '2', '3', 'below/4', 'below/5']
    assert written(tmp_path / 'out') == [f'{kind}/{name}.png' for kind in ('labels', 'painted') for name in names]
    for index, name in enumerate(names):
        labels = cv2.imread(str(tmp_path / f'out/labels/{name}.png'), cv2.IMREAD_UNCHANGED)
        assert labels.shape == (20, 30)
        assert (labels == (40 * index > 128)).all()
    painted = cv2.imread(str(tmp_path / 'out/painted/below/5.png'))
    assert painted.shape[0] > 20
    # 60 % of the class's colour, 40 % of the frame.
    assert painted[0, 0].tolist() == [80, 80, 200]


def test_it_goes_on_where_it_stopped(folder, tmp_path):
    predict(predictor(), str(folder), tmp_path / 'out')
    (tmp_path / 'out/labels/2.png').unlink()
    again = predictor()
    predict(again, str(folder), tmp_path / 'out')
    assert again._backend.calls == 1
    assert (tmp_path / 'out/labels/2.png').is_file()
    predict(again, str(folder), tmp_path / 'out', overwrite=True)
    assert again._backend.calls == 7


def test_results_of_two_models_are_not_mixed(folder, tmp_path):
    predict(predictor(), str(folder), tmp_path / 'out')
    with pytest.raises(UsageError, match=r'another model, .*brightness'):
        predict(predictor('other'), str(folder), tmp_path / 'out')
    predict(predictor('other'), str(folder), tmp_path / 'out', overwrite=True)


def test_an_unreadable_file_stops_nothing(folder, tmp_path):
    (folder / '1.png').write_bytes(b'junk')
    failures = predict(predictor(), str(folder), tmp_path / 'out', ['labels'])
    assert len(failures) == 1
    assert failures[0].startswith(str(folder / '1.png'))
    assert len(written(tmp_path / 'out')) == 5


def test_a_frame_that_the_model_refuses_stops_nothing(folder, tmp_path):
    cv2.imwrite(str(folder / '1.png'), np.zeros((8, 8, 3), np.uint8))
    failures = predict(predictor(size=[20, 30]), str(folder), tmp_path / 'out', ['labels'])
    assert [failure.split(': ', 1)[1] for failure in failures] == [
        'brightness takes frames of 20x30 alone: got 8x8. Resize them, or export a model without --size.'
    ]
    assert len(written(tmp_path / 'out')) == 5


def test_shares_are_disjoint_and_whole(folder, tmp_path):
    found = []
    for share in range(1, 5):
        predict(predictor(), str(folder), tmp_path / f'{share}', ['labels'], shard=(share, 4))
        found += written(tmp_path / f'{share}')
    assert sorted(found) == [f'labels/{name}.png' for name in ('0', '1', '2', '3', 'below/4', 'below/5')]
    with pytest.raises(UsageError, match='got 5 of 4'):
        predict(predictor(), str(folder), tmp_path / 'out', shard=(5, 4))


def test_sources(folder):
    assert list(find_images(str(folder / '3.png'))) == ['3']
    assert list(find_images(str(folder / '[12].png'))) == ['1', '2']
    assert list(find_images(str(folder / '**/*.png'))) == ['0', '1', '2', '3', 'below/4', 'below/5']
    assert find_images('0') is None
    cv2.imwrite(str(folder / '3.jpg'), np.zeros((8, 8, 3), np.uint8))
    assert list(find_images(str(folder / '3.*'))) == ['3.jpg', '3.png']
    for bad in (folder / 'absent.png', folder / '*.bmp'):
        with pytest.raises(UsageError, match=r'absent.png: give|holds no image'):
            find_images(str(bad))


@pytest.fixture
def video(tmp_path):
    path = tmp_path / 'drive.mp4'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 12, (64, 48))
    if not writer.isOpened():
        pytest.skip('OpenCV here writes no video')
    for index in range(7):
        writer.write(np.full((48, 64, 3), 40 * index, np.uint8))
    writer.release()
    return path


def test_video(video, tmp_path):
    predict(predictor(), str(video), tmp_path / 'out', ['video', 'labels'])
    assert written(tmp_path / 'out') == [f'labels/drive/{index:06}.png' for index in range(7)]
    capture = cv2.VideoCapture(str(tmp_path / 'out/drive.mp4'))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(12)
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 7
    frame = capture.read()[1]
    # The legend is below.
    assert frame.shape[0] > 48
    np.testing.assert_allclose(frame[24, 32], [120, 0, 0], atol=12)
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['drive.mp4', 'labels']


def test_video_can_be_cut_short(video, tmp_path):
    predict(predictor(), str(video), tmp_path / 'out', ['labels'], max_frames=3)
    assert len(written(tmp_path / 'out')) == 3


def test_videos_that_are_none(video, folder, tmp_path):
    video.write_bytes(b'junk')
    with pytest.raises(DataError, match='no video that OpenCV reads'):
        predict(predictor(), str(video), tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
    with pytest.raises(UsageError, match='not of a video'):
        predict(predictor(), str(video), tmp_path / 'out', shard=(1, 2))
    with pytest.raises(UsageError, match='not a video'):
        predict(predictor(), str(folder), tmp_path / 'out', ['video'])


def test_labels_are_needed(folder, tmp_path):
    with pytest.raises(UsageError, match='returns logits'):
        predict(predictor(output='logits'), str(folder), tmp_path / 'out')


def test_what_cannot_be_written_is_no_success(folder, tmp_path, monkeypatch):
    (tmp_path / 'out').write_text('a file where the folder should be')
    with pytest.raises(UsageError, match=r'out/predicted_by.json cannot be written'):
        predict(predictor(), str(folder), tmp_path / 'out')

    def fail(path, data):
        raise OSError(28, 'No space left on device')

    predict(predictor(), str(folder / '1.png'), tmp_path / 'room', ['labels'])
    monkeypatch.setattr('pathlib.Path.write_bytes', fail)
    monkeypatch.setattr('mmseg_erfnet.deploy.predict._check_record', lambda *arguments: None)
    # It happens in the thread that writes, and even so at the last image.
    with pytest.raises(UsageError, match=r'0.png cannot be written \(No space left on device\)'):
        predict(predictor(), str(folder / '0.png'), tmp_path / 'room', ['labels'])
    assert written(tmp_path / 'room') == ['labels/1.png']


def test_the_tool_runs_a_config_and_a_checkpoint(folder, tmp_path, monkeypatch, capsys):
    from helpers.small_models import SMALL, checkpoint

    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    import predict as tool

    (folder / '1.png').write_bytes(b'junk')
    options = [f'{key}={",".join(map(str, value))}' for key, value in SMALL.items()]
    monkeypatch.setattr(
        sys,
        'argv',
        [
            'predict.py',
            str(ROOT / 'configs/erfnet_camvid11.py'),
            str(checkpoint('erfnet_camvid11')),
            str(folder),
            '--out',
            str(tmp_path / 'out'),
            '--write',
            'labels',
            '--cfg-options',
            *options,
        ],
    )
    with pytest.raises(SystemExit, match=r'1 could not be predicted:\n.*1.png'):
        tool.main()
    assert len(written(tmp_path / 'out')) == 5
    assert cv2.imread(str(tmp_path / 'out/labels/3.png'), cv2.IMREAD_UNCHANGED).shape == (20, 30)
    assert '6 of 6 frames' in capsys.readouterr().err
