import cv2
import numpy as np
from helpers.tools import run_tool

from mmseg_erfnet.datasets.camvid import COLOURS
from mmseg_erfnet.datasets.synthetic_sequence import render_sequence

SIZE = 96, 128


def test_labels_have_camvids_colours():
    for frame, labels in render_sequence(SIZE, 3):
        assert frame.shape == labels.shape == (*SIZE, 3)
        assert frame.dtype == labels.dtype == np.uint8
        found = {tuple(colour[::-1]) for colour in np.unique(labels.reshape(-1, 3), axis=0).tolist()}
        assert found <= {tuple(colour) for colour in COLOURS.values()}
        assert {tuple(COLOURS[name]) for name in ('Sky', 'Road', 'Sidewalk', 'Building')} <= found


def test_the_same_seed_gives_the_same_street():
    once, again, other = (next(render_sequence(SIZE, 1, seed=seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()


def test_what_is_seen_moves_little_from_frame_to_frame():
    labels = [labels for _, labels in render_sequence((180, 240), 12, seed=1)]

    def share_changed(first, second):
        return (labels[first] != labels[second]).any(2).mean()

    steps = [share_changed(number, number + 1) for number in range(11)]
    assert 0 < max(steps) < 0.08
    assert share_changed(0, 11) > 2 * np.mean(steps)


def test_tool_writes_a_clip(tmp_path):
    ended = run_tool('synthesize_camvid', '--video', tmp_path / 'street.webm', '--images', 5, '--size', '96x128')
    assert ended.status == 0
    capture = cv2.VideoCapture(str(tmp_path / 'street.webm'))
    frames = [capture.read()[1] for _ in range(5)]
    assert all(frame.shape == (96, 128, 3) for frame in frames)
    assert not capture.read()[0]
    assert (
        run_tool('synthesize_camvid', '--video', tmp_path / 'street.webm', '--images', 5, '--size', '32x32').status == 0
    )
    (tmp_path / 'own.webm').write_bytes(b'a clip of the user')
    sentence = run_tool(
        'synthesize_camvid', '--video', tmp_path / 'own.webm', '--images', 5, '--size', '32x32'
    ).sentence
    assert 'own.webm exists, and is not a result of an earlier run; choose another --video, or remove it' in sentence
    assert (tmp_path / 'own.webm').read_bytes() == b'a clip of the user'
    given = ['--video', tmp_path / 'none.webm']
    assert 'at least 1 frame, not 0' in run_tool('synthesize_camvid', *given, '--images', 0).sentence
    assert 'at least 32 pixels' in run_tool('synthesize_camvid', *given, '--size', '1x1').sentence
    assert 'a seed is a number from 0' in run_tool('synthesize_camvid', *given, '--seed', -1).sentence
    assert 'cannot be written' in run_tool('synthesize_camvid', '--video', '/proc/none.webm').sentence
    assert not (tmp_path / 'none.webm').exists()
    assert 'is written as .webm' in run_tool('synthesize_camvid', '--video', tmp_path / 'a.mp4').sentence
