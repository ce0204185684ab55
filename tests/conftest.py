"""Shared by the tests: where the project is, where real frames are if there are any, and small runs without them."""

import gc
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmseg_erfnet.datasets.synthetic import synthesize_camvid
from mmseg_erfnet.engine.launch import load_config

# One thread for this process and each that it starts: the tests are small, and run side by side.
os.environ['OMP_NUM_THREADS'] = '1'
torch.set_num_threads(1)

# MMEngine collects garbage whenever a dataset is loaded; excluding what has been imported saves 0.2 s each time.
gc.collect()
gc.freeze()

ROOT = Path(__file__).resolve().parents[1]
DRAWING = [f'mmseg_erfnet.{name}Hook' for name in ('Curves', 'Report', 'Timelapse', 'ValidationPictures')]
CONFIGS = sorted(path.stem for path in (ROOT / 'configs').glob('*.py'))


@pytest.fixture(autouse=True)
def one_thread():
    """Undo what a test sets: OpenMP's threads would make a forked process wait for ever."""
    yield
    torch.set_num_threads(1)


def _from_environment(variable: str) -> Path:
    if variable not in os.environ:
        pytest.skip(f'set {variable} to a folder with real frames to run this test')
    return Path(os.environ[variable])


@pytest.fixture(scope='session')
def camvid_root() -> Path:
    """Real CamVid in the official layout: 701_StillsRaw_full, LabeledApproved_full."""
    return _from_environment('CAMVID_ROOT')


@pytest.fixture(scope='session')
def cityscapes_root() -> Path:
    """Real Cityscapes: leftImg8bit, gtFine."""
    return _from_environment('CITYSCAPES_ROOT')


@pytest.fixture(scope='session')
def erfnet_reference() -> Path:
    """The `.npz` with one forward pass of the authors' network."""
    return _from_environment('ERFNET_REFERENCE')


@pytest.fixture(scope='session')
def synthetic_camvid(tmp_path_factory) -> Path:
    """Sixteen synthetic frames of 96x128 in CamVid's layout."""
    return synthesize_camvid(tmp_path_factory.mktemp('data') / 'camvid', images=16, size=(96, 128))


@pytest.fixture(scope='session')
def synthetic_cityscapes(tmp_path_factory) -> Path:
    """Two frames each of train and val, 128x256, noise for images and bands of raw label ids, in Cityscapes' layout."""
    root = tmp_path_factory.mktemp('data') / 'cityscapes'
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(32, dtype=np.uint8), 4)[:, None].repeat(256, 1)
    for split in ('train', 'val'):
        for index in range(2):
            name = f'town/town_00000{index}_000019'
            for kind, suffix, picture in (
                ('leftImg8bit', 'leftImg8bit', random.integers(0, 256, (128, 256, 3), dtype=np.uint8)),
                ('gtFine', 'gtFine_labelIds', labels),
            ):
                path = root / kind / split / f'{name}_{suffix}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), picture)
    return root


@pytest.fixture(scope='session')
def shrunk_config(synthetic_camvid, synthetic_cityscapes):
    """A function that loads a shipped config, shrunk to run in seconds on synthetic frames.

    Sizes become 64x64 (128x256 for Cityscapes), batches 4; one process loads the data, no weights are loaded, and
    unless ``drawing``, nothing is drawn, which would take most of the time.
    """

    def load(name: str, work_dir: Path | str, drawing: bool = False, **options) -> Config:
        cfg = load_config(str(ROOT / 'configs' / f'{name}.py'), str(work_dir))
        root = synthetic_cityscapes if name.startswith('erfnet_cityscapes') else synthetic_camvid
        for part in ('train', 'val', 'test'):
            loader = cfg[f'{part}_dataloader']
            if loader is None:
                continue
            loader.dataset.data_root = str(root)
            loader.batch_size = min(loader.batch_size, 4)
            loader.num_workers, loader.persistent_workers = 0, False
        small = {
            (256, 256): (64, 64),
            (480, 360): (96, 72),
            (360, 480): (72, 96),
            (240, 320): (48, 64),
            (2048, 1024): (256, 128),
            (1024, 512): (256, 128),
            (512, 1024): (128, 256),
        }
        cfg = Config(_replace(cfg._cfg_dict.to_dict(), small))
        if not drawing:
            cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook.type not in DRAWING]
        cfg.load_from = None  # weights of an earlier stage, or of somewhere else
        cfg.merge_from_dict(options)
        return cfg

    return load


@pytest.fixture
def small_config(shrunk_config, tmp_path):
    """``shrunk_config`` with a work dir of the test's own by default."""

    def load(name: str, work_dir: Path | str = tmp_path / 'run', drawing: bool = False, **options) -> Config:
        return shrunk_config(name, work_dir, drawing, **options)

    return load


def _replace(node, values: dict):
    if isinstance(node, dict):
        return {key: _replace(value, values) for key, value in node.items()}
    if isinstance(node, tuple) and node in values:
        return values[node]
    return type(node)(_replace(item, values) for item in node) if isinstance(node, (list, tuple)) else node
