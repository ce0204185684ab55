"""Prediction into files, with a model that tells classes by brightness."""

import importlib.util
import json
import os
import re
import signal
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.tools import ROOT, run_tool
from PIL import Image

from mmseg_erfnet.deploy import Predictor
from mmseg_erfnet.deploy.predict import predict
from mmseg_erfnet.errors import StorageError, UsageError
from mmseg_erfnet.files import TEMPORARY, read_record


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


def picture(path: Path, value: int = 0, size: tuple[int, int] = (20, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*size, 3), value, np.uint8))
    return path


def clip(path: Path, frames: int = 7, codec: str = 'mp4v') -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 12, (64, 48))
    if not writer.isOpened():
        pytest.skip('OpenCV here writes no video')
    for index in range(frames):
        writer.write(np.full((48, 64, 3), 40 * index % 256, np.uint8))
    writer.release()
    return path


@pytest.fixture
def folder(tmp_path):
    """Six images, two of them in a folder below, and a file that is none."""
    for index in range(6):
        picture(tmp_path / 'in' / ('below' if index > 3 else '') / f'{index}.png', 40 * index)
    (tmp_path / 'in/notes.txt').write_text('no image')
    return tmp_path / 'in'


def written(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*.png'))


def labels_of(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.mark.parametrize('parallel', [1, 4])
def test_folder(parallel, folder, tmp_path):
    model = predictor()
    model.parallel = parallel
    result = predict(model, str(folder), tmp_path / 'out')
    assert (result.failures, result.kept, result.stopped) == ([], 0, False)
    names = ['0', '1', '2', '3', 'below/4', 'below/5']
    assert written(tmp_path / 'out') == [f'{kind}/{name}.png' for kind in ('labels', 'painted') for name in names]
    assert result.pictures == [tmp_path / f'out/painted/{name}.png' for name in names]
    for index, name in enumerate(names):
        labels = labels_of(tmp_path / f'out/labels/{name}.png')
        assert labels.shape == (20, 30)
        assert (labels == (40 * index > 128)).all()
    painted = cv2.imread(str(tmp_path / 'out/painted/below/5.png'))
    assert painted.shape[0] > 20
    # 60 % of the class's colour, 40 % of the frame.
    assert painted[0, 0].tolist() == [80, 80, 200]
    assert not list((tmp_path / 'out').rglob('.*'))


def test_it_goes_on_where_it_stopped(folder, tmp_path):
    predict(predictor(), str(folder), tmp_path / 'out')
    (tmp_path / 'out/labels/2.png').unlink()
    again = predictor()
    assert predict(again, str(folder), tmp_path / 'out').kept == 5
    assert again._backend.calls == 1
    assert (tmp_path / 'out/labels/2.png').is_file()
    predict(again, str(folder), tmp_path / 'out', overwrite=True)
    assert again._backend.calls == 7
    # A picture that has changed since is predicted again.
    picture(folder / '0.png', 250, (21, 30))
    predict(again, str(folder), tmp_path / 'out')
    assert again._backend.calls == 8
    assert (labels_of(tmp_path / 'out/labels/0.png') == 1).all()


def test_results_of_two_models_are_not_mixed(folder, tmp_path):
    predict(predictor(), str(folder), tmp_path / 'out')
    with pytest.raises(UsageError, match=r'another model, .*brightness'):
        predict(predictor('other'), str(folder), tmp_path / 'out')
    predict(predictor('other'), str(folder), tmp_path / 'out', overwrite=True)
    assert json.loads((tmp_path / 'out/predicted_by.json').read_text())['model'] == 'other'
    assert read_record(tmp_path / 'out/labels/0.png')['model'] == 'other'


@pytest.mark.parametrize(
    'setting', [dict(scale=1.25), dict(int8=dict(fp32=70.0, int8=69.9)), dict(config_text='a = 2')]
)
def test_another_export_of_the_same_name_and_weights_is_another_model(folder, tmp_path, setting):
    one, other = (predictor(**{'scale': 1.0, 'config_text': 'a = 1', **more}) for more in ({}, setting))
    predict(one, str(folder), tmp_path / 'out')
    with pytest.raises(UsageError, match='another model'):
        predict(other, str(folder), tmp_path / 'out')


def test_an_unreadable_file_stops_nothing(folder, tmp_path):
    (folder / '1.png').write_bytes(b'junk')
    result = predict(predictor(), str(folder), tmp_path / 'out', ['labels'])
    assert len(result.failures) == 1
    assert result.failures[0].startswith(str(folder / '1.png'))
    assert len(written(tmp_path / 'out')) == 5


def test_files_of_every_wrong_kind_stop_nothing(folder, tmp_path):
    """A name that is no UTF-8 once ended the process; a pipe would be waited for; 12 bits were read as black."""
    name = os.fsdecode(b'caf\xe9.png')
    Path(os.path.join(os.fspath(folder), name)).write_bytes((folder / '3.png').read_bytes())
    cv2.imwrite(str(folder / 'twelve.png'), np.full((20, 30, 3), 4000, np.uint16))
    os.mkfifo(folder / 'pipe.png')
    picture(folder / f'{"x" * 251}.png')
    picture(folder / f'{"y" * 250}.jpg')
    picture(folder / f'{"y" * 250}.png')
    (folder / 'gone.png').symlink_to(folder / 'nowhere.png')
    result = predict(predictor(), str(folder), tmp_path / 'out', ['labels'])
    assert [failure.split(' ', 1)[1][:30] for failure in sorted(result.failures)] == [
        'cannot be read (No such file o',
        'is not a regular file; give an',
        'is not an 8-bit grey or RGB im',
        'cannot be written (File name t',
        'cannot be written (File name t',
    ]
    assert all('make room' not in failure for failure in result.failures)
    assert (tmp_path / 'out/labels' / name).is_file()
    assert len(written(tmp_path / 'out')) == 8


def test_pipes_and_devices_named_as_clips_are_not_waited_for(folder, tmp_path):
    """Reading them would never end, whether for frames or for the record of an earlier result."""
    os.mkfifo(folder / 'pipe.mp4')
    (folder / 'endless.mp4').symlink_to('/dev/zero')
    (folder / 'endless.png').symlink_to('/dev/zero')
    (folder / 'new\nline \x1b[31m.mp4').symlink_to('nowhere')
    failures = sorted(predict(predictor(), str(folder), tmp_path / 'out').failures)
    assert [failure.removeprefix(f'{folder}/') for failure in failures] == [
        'endless.mp4 is missing or no regular file; give a video.',
        'endless.png is not a regular file; give an image file.',
        'new\\nline \\x1b[31m.mp4 is missing or no regular file; give a video.',
        'pipe.mp4 is missing or no regular file; give a video.',
    ]
    assert len(written(tmp_path / 'out/labels')) == 6


def test_pictures_above_the_limit_are_refused_by_their_header(folder, tmp_path):
    header = bytearray((folder / '1.png').read_bytes())
    struct.pack_into('>II', header, 16, 12000, 12000)
    struct.pack_into('>I', header, 29, zlib.crc32(header[12:29]))
    (folder / '1.png').write_bytes(header)
    result = predict(predictor(), str(folder), tmp_path / 'out', ['labels'])
    (failure,) = result.failures
    assert '12000x12000 pixels, more than the limit' in failure
    assert len(written(tmp_path / 'out')) == 5


def test_turned_photos_are_predicted_upright(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    pixels = np.zeros((40, 64, 3), np.uint8)
    pixels[:, :32] = 255
    Image.fromarray(pixels).save(tmp_path / 'photo.jpg', exif=exif, quality=95)
    predict(predictor(), str(tmp_path / 'photo.jpg'), tmp_path / 'out')
    labels = labels_of(tmp_path / 'out/labels/photo.png')
    assert labels.shape == (64, 40)
    assert labels[:30].all()
    assert not labels[34:].any()


def test_a_frame_that_the_model_refuses_stops_nothing(folder, tmp_path):
    picture(folder / '1.png', 0, (8, 8))
    failures = predict(predictor(size=[20, 30]), str(folder), tmp_path / 'out', ['labels']).failures
    assert [failure.split(': ', 1)[1] for failure in failures] == [
        'brightness only takes frames of 20x30: got 8x8. Resize them, or export a model without --size.'
    ]
    assert len(written(tmp_path / 'out')) == 5


def test_a_frame_without_room_in_memory_stops_nothing(folder, tmp_path, monkeypatch):
    run = Brightness.run

    def fail(self, frames):
        if frames.shape[1] == 21:
            raise MemoryError
        return run(self, frames)

    monkeypatch.setattr(Brightness, 'run', fail)
    picture(folder / '1.png', 0, (21, 30))
    failures = predict(predictor(), str(folder), tmp_path / 'out', ['labels']).failures
    assert failures == [f'{folder}/1.png does not fit into memory; shrink it, or cut it into tiles.']
    assert len(written(tmp_path / 'out')) == 5


def test_pictures_of_any_shape(tmp_path):
    shapes = [(1, 1), (1, 3000), (3000, 1), (2, 2), (7, 40000)]
    for index, shape in enumerate(shapes):
        picture(tmp_path / f'in/{index}.png', 0, shape)
    assert predict(predictor(), str(tmp_path / 'in'), tmp_path / 'out').failures == []
    for index, shape in enumerate(shapes):
        assert labels_of(tmp_path / f'out/labels/{index}.png').shape == shape
        assert cv2.imread(str(tmp_path / f'out/painted/{index}.png')).shape[1] == shape[1]


def test_shares_are_disjoint_and_whole(folder, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        # Into one folder at once.
        results = pool.map(
            lambda share: predict(predictor(), str(folder), tmp_path / 'out', ['labels'], shard=(share, 4)),
            range(1, 5),
        )
        assert sorted(len(result.pictures) for result in results) == [1, 1, 2, 2]
    names = ('0', '1', '2', '3', 'below/4', 'below/5')
    assert written(tmp_path / 'out') == [f'labels/{name}.png' for name in names]
    with pytest.raises(UsageError, match='got 5 of 4'):
        predict(predictor(), str(folder), tmp_path / 'out', shard=(5, 4))


def test_runs_at_once_into_one_folder_lose_nothing(folder, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: predict(predictor(), str(folder), tmp_path / 'out'), range(8)))
    assert all(not result.failures and len(result.pictures) == 6 for result in results)
    assert len(written(tmp_path / 'out')) == 12
    assert not list((tmp_path / 'out').rglob('.*'))


def test_what_a_killed_run_left_unfinished_is_removed(folder, tmp_path):
    names = [f'labels/{TEMPORARY}0123456789abcdef.png', f'painted/below/{TEMPORARY}1.png', f'{TEMPORARY}2.mp4']
    for name in names:
        picture(tmp_path / 'out' / name.replace('mp4', 'png')).rename(tmp_path / 'out' / name)
    result = predict(predictor(), str(folder), tmp_path / 'out')
    assert (result.kept, len(result.pictures)) == (0, 6)
    assert not list((tmp_path / 'out').rglob('.*'))


def test_of_two_models_at_once_one_is_refused(folder, tmp_path):
    def attempt(name: str) -> bool:
        try:
            predict(predictor(name), str(folder), tmp_path / 'out')
        except UsageError as error:
            assert 'another model' in str(error)  # noqa: PT017 (either may be the first)
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(attempt, ('one', 'other'))) == [False, True]
    models = {read_record(path)['model'] for path in (tmp_path / 'out').rglob('*.png')}
    assert models == {json.loads((tmp_path / 'out/predicted_by.json').read_text())['model']}


# --- Targets ----------------------------------------------------------------------------------------------------------


def test_ground_truth_is_not_replaced(tmp_path):
    """`predict M data/images --out data`, where data/labels holds the ground truth."""
    for index in range(3):
        picture(tmp_path / f'data/images/{index}.png', 90 * index)
    picture(tmp_path / 'data/labels/1.png')
    before = contents(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(UsageError, match=r'labels/1\.png exists, and is not a result of an earlier run; choose'):
            predict(predictor(), str(tmp_path / 'data/images'), tmp_path / 'data', overwrite=overwrite)
    assert contents(tmp_path) == before


def test_the_input_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = clip(tmp_path / 'drive.mp4')
    before = source.read_bytes()
    for name in ('drive.mp4', str(source), './drive.mp4'):
        with pytest.raises(UsageError, match=r'drive\.mp4 is an input, and would be replaced'):
            predict(predictor(), name, '.', codec='mp4v', overwrite=True)
    (tmp_path / 'out').mkdir()
    os.link(source, tmp_path / 'out/drive.mp4')
    with pytest.raises(UsageError, match=r'is an input'):
        predict(predictor(), 'drive.mp4', 'out', codec='mp4v', overwrite=True)
    assert source.read_bytes() == before
    # A picture in the folder `labels` whose labels go there, too.
    picture(tmp_path / 'labels/1.png')
    with pytest.raises(UsageError, match=r'labels/1\.png is an input'):
        predict(predictor(), 'labels/1.png', '.', ['labels'])


def test_a_folder_for_results_inside_the_input(folder):
    model = predictor()
    for _ in range(3):
        result = predict(model, str(folder), folder / 'out')
    assert (result.kept, model._backend.calls) == (6, 6)
    for _ in range(3):  # the input itself
        result = predict(model, str(folder), folder)
    assert (result.kept, model._backend.calls) == (6, 12)
    # Results of an earlier run in another folder.
    assert len(predict(model, str(folder), folder.parent / 'other').pictures) == 6


@pytest.mark.parametrize('names', [('x.jpg', 'x.png', 'x.jpg.png'), ('a/1.png', 'b/1.png')])
def test_inputs_of_one_name_lose_nothing(tmp_path, names):
    for index, name in enumerate(names):
        picture(tmp_path / 'in' / name, 0, (20 + index, 30))
    for inputs in ([str(tmp_path / 'in')], [str(tmp_path / 'in' / name) for name in names]):
        out = tmp_path / f'out{len(inputs)}'
        predict(predictor(), inputs, out, ['labels'])
        heights = sorted(labels_of(path).shape[0] for path in out.rglob('*.png'))
        assert heights == [20 + index for index in range(len(names))]


def test_clips_of_one_name_lose_nothing(tmp_path):
    clip(tmp_path / 'in/drive.mp4', 3)
    clip(tmp_path / 'in/drive.avi', 5, 'MJPG')
    picture(tmp_path / 'in/drive/000000.png')
    predict(predictor(), str(tmp_path / 'in'), tmp_path / 'out', ['labels', 'video'], codec='mp4v')
    assert sorted(path.name for path in (tmp_path / 'out').glob('*.mp4')) == ['drive.avi.mp4', 'drive.mp4.mp4']
    assert len(written(tmp_path / 'out')) == 3 + 5 + 1


def test_a_result_of_another_input_of_the_same_name(tmp_path):
    first, second = picture(tmp_path / 'a/x.jpg', 0), picture(tmp_path / 'b/x.jpg', 255, (22, 30))
    predict(predictor(), str(first), tmp_path / 'out')
    before = contents(tmp_path / 'out')
    with pytest.raises(UsageError, match=r'x\.png is the result of another input with this name: choose another --out'):
        predict(predictor(), str(second), tmp_path / 'out')
    assert contents(tmp_path / 'out') == before
    predict(predictor(), str(second), tmp_path / 'out', overwrite=True)
    assert labels_of(tmp_path / 'out/labels/x.png').shape == (22, 30)


def test_a_record_that_is_none_is_not_replaced(folder, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/predicted_by.json').write_text('mine')
    with pytest.raises(UsageError, match=r'predicted_by\.json is not a record of a prediction'):
        predict(predictor(), str(folder), tmp_path / 'out', overwrite=True)
    assert contents(tmp_path / 'out') == {'predicted_by.json': b'mine'}


# --- Arguments and storage --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (dict(max_frames=0), '--max-frames must be at least 1 frame'),
        (dict(every=0), '--every must be at least 1 frame'),
        (dict(codec='vp9'), "one of h264, vp8, mp4v: got 'vp9'"),
        (dict(contents=['video']), 'not a video'),
    ],
)
def test_wrong_arguments(folder, tmp_path, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        predict(predictor(), str(folder), tmp_path / 'out', **options)
    assert not (tmp_path / 'out').exists()


def test_labels_are_needed(folder, tmp_path):
    with pytest.raises(UsageError, match='returns logits'):
        predict(predictor(output='logits'), str(folder), tmp_path / 'out')


def test_a_class_that_cannot_be_drawn_is_said_before(folder, tmp_path):
    with pytest.raises(UsageError, match='has letters that OpenCV cannot draw'):
        predict(predictor(classes=['सड़क', 'x']), str(folder), tmp_path / 'out')


def test_what_cannot_be_written_is_no_success(folder, tmp_path, monkeypatch):
    (tmp_path / 'out').write_text('a file where the folder should be')
    with pytest.raises(StorageError, match=r'out(/\S+)? cannot be written'):
        predict(predictor(), str(folder), tmp_path / 'out')

    def fail(path, data):
        raise OSError(28, 'No space left on device')

    predict(predictor(), str(folder / '1.png'), tmp_path / 'room', ['labels'])
    monkeypatch.setattr('pathlib.Path.write_bytes', fail)
    # It happens in the thread that writes, and even so at the last image.
    with pytest.raises(StorageError, match=r'0.png cannot be written \(No space left on device\): make room'):
        predict(predictor(), str(folder / '0.png'), tmp_path / 'room', ['labels'])
    assert written(tmp_path / 'room') == ['labels/1.png']


# --- The tool ---------------------------------------------------------------------------------------------------------


def test_the_tool_runs_a_config_and_a_checkpoint(folder, tmp_path, capsys):
    from helpers.small_models import SMALL, checkpoint

    (folder / '1.png').write_bytes(b'junk')
    options = [f'{key}={",".join(map(str, value))}' for key, value in SMALL.items()]
    ended = run_tool(
        'predict',
        ROOT / 'configs/erfnet_camvid11.py',
        checkpoint('erfnet_camvid11'),
        folder,
        '--out',
        tmp_path / 'out',
        '--write',
        'labels',
        '--scale',
        1.5,
        '--cfg-options',
        *options,
    )
    assert ended.status == 1
    assert ended.sentence.startswith(f'{folder}/1.png cannot be read as an image (it is not PNG, JPEG')
    assert len(written(tmp_path / 'out')) == 5
    assert labels_of(tmp_path / 'out/labels/3.png').shape == (20, 30)
    said = capsys.readouterr()
    assert '6/6' in said.err
    assert said.out.splitlines()[0] == str(tmp_path / 'out/labels/0.png')


def test_the_tool_takes_the_model_that_comes_with_the_package(folder, tmp_path, monkeypatch, capsys):
    loaded = []
    monkeypatch.setattr('mmseg_erfnet.cli.predict.default_model', lambda: Path('shipped.xml'))
    monkeypatch.setattr('mmseg_erfnet.cli.predict.Predictor', lambda path, *rest: loaded.append(path) or predictor())
    monkeypatch.chdir(tmp_path)
    assert run_tool('predict', folder / '3.png', folder / '1.png').status == 0
    assert capsys.readouterr().out.splitlines() == ['predicted/painted/3.png', 'predicted/painted/1.png']
    assert run_tool('predict', 'own.onnx', folder / '3.png', '--out', tmp_path / 'named').status == 0
    assert (tmp_path / 'named/labels/3.png').read_bytes()
    assert loaded == [Path('shipped.xml'), 'own.onnx']


@pytest.mark.parametrize(
    ('words', 'sentence'),
    [
        (('m.xml',), 'There is no input'),
        (('m.xml', 'n.onnx', 'x.png'), 'A model is one file .* before the inputs: got m.xml, n.onnx'),
        (('x.png', 'm.xml'), 'before the inputs: got m.xml'),
        (('c.py', 'x.png'), 'a config .* and its checkpoint'),
        (('c.pth', 'x.png'), 'a config .* and its checkpoint'),
        (('absent.png',), r'There is no absent\.png: give an image'),
        (('4294967296',), 'There is no camera 4294967296'),
    ],
)
def test_wrong_words(words, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = run_tool('predict', *words)
    assert ended.status == 1
    assert re.search(sentence, ended.sentence)
    assert not list(tmp_path.iterdir())


def test_a_segmentor_of_several_stages_is_refused(folder, tmp_path):
    (tmp_path / 'config.py').write_text("model = dict(type='CascadeEncoderDecoder', decode_head=[dict(), dict()])\n")
    ended = run_tool('predict', tmp_path / 'config.py', tmp_path / 'x.pth', folder)
    assert ended.sentence.startswith('predict runs an EncoderDecoder with one decode head')
    assert 'CascadeEncoderDecoder' in ended.sentence


# --- Signals ----------------------------------------------------------------------------------------------------------

SLOW = """
import sys, time
import numpy as np
from mmseg_erfnet.deploy import Predictor
from mmseg_erfnet.cli import predict as tool

class Slow:
    parallel = 2

    def run(self, frames):
        time.sleep(0.05)
        print('frame', flush=True)
        return np.zeros(frames.shape[:3], np.uint8)

tool._predictor = lambda model, args, side_by_side: Predictor.of(
    'slow', Slow(), dict(classes=['dark', 'bright'], palette=[[0, 0, 200], [200, 0, 0]], output='labels', size=None,
    batch=None))
tool.main(sys.argv[1:])
"""


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('kind', ['video', 'images'])
def test_a_signal_leaves_what_is_done(tmp_path, number, kind):
    if kind == 'video':
        source = clip(tmp_path / 'drive.mp4', 400)
    else:
        source = tmp_path / 'in'
        for index in range(400):
            picture(source / f'{index:03}.png')
    process = subprocess.Popen(
        [sys.executable, '-c', SLOW, str(source), '--out', str(tmp_path / 'out'), '--codec', 'mp4v'],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    for _ in range(10):
        process.stdout.readline()
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert f'Stopped by {number.name}; run the same command again to continue.' in err
    assert 'Traceback' not in err
    assert not list((tmp_path / 'out').rglob('.*'))
    if kind == 'video':
        capture = cv2.VideoCapture(str(tmp_path / 'out/drive.mp4'))
        assert 10 <= sum(1 for _ in range(400) if capture.grab()) < 400
        assert read_record(tmp_path / 'out/drive.mp4')['whole'] is False
        # The same command makes it whole.
        model = predictor('slow')
        predict(model, str(source), tmp_path / 'out', codec='mp4v')
        assert model._backend.calls == 400
    else:
        assert 10 <= len(list((tmp_path / 'out/labels').iterdir())) < 400


def test_a_full_disk_leaves_no_half_file(folder, tmp_path):
    """A limit on the size of files fails as a full disk does, in the middle of a write."""
    code = (
        'import resource, runpy, sys\n'
        'resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)\n'
        + SLOW.replace('time.sleep(0.05)', '')
    )
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'noise.png'), noise)
    source = clip(tmp_path / 'drive.mp4', 200)
    for given, limit, options in (
        (tmp_path / 'noise.png', 20_000, []),
        (source, 8_000, ['--codec', 'mp4v']),
        (source, 8_000, ['--codec', 'vp8']),
        *([(source, 8_000, ['--codec', 'h264'])] if importlib.util.find_spec('av') else []),
    ):
        out = tmp_path / f'out{given.stem}{"".join(options)}'
        ended = subprocess.run(
            [sys.executable, '-c', code, str(limit), str(given), '--out', str(out), *options],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
        assert ended.returncode == 1, options
        assert ended.stderr.splitlines()[-1].startswith('error: '), ended.stderr
        assert 'cannot be written' in ended.stderr.splitlines()[-1]
        assert 'Traceback' not in ended.stderr
        left = [path for path in out.rglob('*') if path.is_file() and path.name != 'predicted_by.json']
        assert all(path.suffix == '.png' and cv2.imread(str(path)) is not None for path in left)
        assert not list(out.rglob('.*'))
