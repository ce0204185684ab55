"""Invalid data, as a user sees it: one sentence on the terminal that names the file."""

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.tools import run_tool

from mmseg_erfnet.cli.common import tool
from mmseg_erfnet.datasets.camvid import COLOURS
from mmseg_erfnet.engine.launch import train
from mmseg_erfnet.errors import DataError


@pytest.fixture
def root(synthetic_camvid, tmp_path) -> Path:
    """A copy of the data, to be damaged."""
    return shutil.copytree(synthetic_camvid, tmp_path / 'camvid')


@pytest.fixture
def complaint(small_config, root, tmp_path):
    """A function that trains with `tools/train.py` and returns its error message."""

    def run(workers: int = 0) -> str:
        cfg = small_config(
            'erfnet_camvid',
            tmp_path / 'run',
            **{
                'train_dataloader.num_workers': workers,
                'train_dataloader.dataset.data_root': str(root),
                'val_dataloader.dataset.data_root': str(root),
            },
        )
        cfg.dump(tmp_path / 'config.py')
        ended = run_tool('train', tmp_path / 'config.py')
        assert ended.status == 1
        assert not list(tmp_path.rglob('*.pth'))
        return ended.sentence

    return run


def frame(root: Path) -> Path:
    """A frame of the training split that is read in the middle of an epoch."""
    name = (root / 'splits' / 'train.txt').read_text().split()[5]
    return root / '701_StillsRaw_full' / f'{name}.png'


def label(root: Path) -> Path:
    return root / 'LabeledApproved_full' / f'{frame(root).stem}_L.png'


def changed(path: Path, change) -> None:
    cv2.imwrite(str(path), change(cv2.imread(str(path))))


def painted(image: np.ndarray) -> np.ndarray:
    image[:2, :3] = (3, 2, 1)
    return image


SPOILT_FILES = {
    'truncated frame': (frame, lambda path: path.write_bytes(path.read_bytes()[:-50]), 'is truncated at'),
    'grey frame': (frame, lambda path: changed(path, lambda image: image[..., 0]), 'is not an 8-bit RGB image'),
    'label of another size': (label, lambda path: changed(path, lambda image: image[:-1]), 'is 128x95, but its frame'),
    'RGBA label': (
        label,
        lambda path: changed(path, lambda image: np.dstack([image, image[..., 0]])),
        'is not an 8-bit RGB label image',
    ),
    'unknown colour': (label, lambda path: changed(path, painted), r'has colours outside the palette: RGB \(1, 2, 3\)'),
}


@pytest.mark.parametrize('kind', SPOILT_FILES)
def test_a_file_that_is_met_in_mid_epoch(root, complaint, kind):
    which, spoil, words = SPOILT_FILES[kind]
    spoil(which(root))
    # Only one case fails in a worker, because torch takes five seconds to clean up the worker afterwards.
    sentence = complaint(workers=1 if kind == 'truncated frame' else 0)
    assert sentence.startswith(f'{which(root)} ')
    assert re.search(words, sentence)


def test_a_sentence_is_told_whole():
    @tool
    def main(argv=None) -> None:
        raise DataError('/data/Error: 1.png is truncated: put the original in its place')

    with pytest.raises(SystemExit, match=r'^error: /data/Error: 1\.png is truncated: put the original in its place$'):
        main()


def split(root: Path) -> Path:
    return root / 'splits' / 'train.txt'


SPOILT_SPLITS = {
    'empty split': (lambda root: split(root).write_text(''), r'train\.txt is empty'),
    'missing label': (lambda root: label(root).unlink(), r'_L\.png is missing, which \S+train\.txt requires'),
    'name given twice': (lambda root: split(root).write_text(f'{frame(root).stem}\n' * 2), 'more than once'),
    'no folder': (lambda root: shutil.rmtree(root / '701_StillsRaw_full'), r'the folder \S+701_StillsRaw_full cannot'),
    'frame of the other split': (
        lambda root: split(root).write_text((root / 'splits' / 'val.txt').read_text()),
        'are in the training and in the validation split',
    ),
}


@pytest.mark.parametrize('kind', SPOILT_SPLITS)
def test_what_is_seen_before_training(root, complaint, kind):
    spoil, words = SPOILT_SPLITS[kind]
    spoil(root)
    sentence = complaint()
    assert re.search(words, sentence)


def test_labels_that_are_all_ignored_do_no_harm(small_config, root, tmp_path):
    for path in (root / 'LabeledApproved_full').iterdir():
        changed(path, lambda image: np.full_like(image, COLOURS['Void']))
    options = {
        'train_dataloader.dataset.data_root': str(root),
        'val_dataloader.dataset.data_root': str(root),
        'train_dataloader.dataset.indices': 4,
        'train_cfg.max_epochs': 1,
    }
    runner = train(small_config('erfnet_camvid11', tmp_path / 'run', **options))
    assert runner.message_hub.get_scalar('train/loss').current() == 0
    assert all(torch.isfinite(weight).all() for weight in runner.model.state_dict().values())
