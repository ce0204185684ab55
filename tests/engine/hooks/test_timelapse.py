import random

import cv2
import numpy as np
import pytest
import torch
from helpers.oracle import Oracle  # noqa: F401  (registers it)
from mmengine.hooks import Hook
from PIL import Image

from mmseg_erfnet.datasets.camvid import PALETTE
from mmseg_erfnet.engine.hooks import TimelapseHook, timelapse
from mmseg_erfnet.engine.launch import train
from mmseg_erfnet.engine.runner import SafeRunner
from mmseg_erfnet.errors import UsageError


def config(small_config, **options):
    cfg = small_config('erfnet_camvid', drawing=True, **options)
    cfg.model = dict(type='mmseg_erfnet.Oracle', data_preprocessor=cfg.model.data_preprocessor)
    cfg.optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    cfg.custom_hooks = [dict(type='mmseg_erfnet.EpochSeedHook'), dict(type='mmseg_erfnet.TimelapseHook', width=64)]
    return cfg


def epochs(folder) -> list[int]:
    return sorted(int(path.stem[6:]) for path in folder.glob('epoch_*.png'))


def shown(path) -> np.ndarray:
    """The last picture of an animation, RGB."""
    image = Image.open(path)
    image.seek(image.n_frames - 1)
    return np.asarray(image.convert('RGB'))


def test_animates_and_goes_on_after_a_resume(small_config, tmp_path):
    folder = tmp_path / 'run' / 'timelapse'
    train(config(small_config), epochs=1)
    for split in ('train', 'val'):
        assert epochs(folder / split) == [0, 1]
        assert Image.open(folder / f'{split}.gif').n_frames == 2
    first = (folder / 'val' / 'epoch_0001.png').stat().st_mtime_ns
    (folder / 'val' / 'epoch_0009.png').write_bytes((folder / 'val' / 'epoch_0001.png').read_bytes())
    # What a full disk, or another tool, may leave.
    (folder / 'train' / 'epoch_0001.png').write_bytes(b'')
    (folder / 'train' / 'epoch_last.png').write_bytes(b'no picture')
    train(config(small_config), epochs=2, resume=True)
    assert epochs(folder / 'val') == [0, 1, 2], 'the ninth epoch is not of this run'
    assert (folder / 'val' / 'epoch_0001.png').stat().st_mtime_ns == first
    assert Image.open(folder / 'val.gif').n_frames == 3
    assert Image.open(folder / 'train.gif').n_frames == 2, 'all but the damaged one'
    (folder / 'train' / 'epoch_last.png').unlink()
    assert (folder / 'val.gif').stat().st_size < 8e6
    for path in (tmp_path / 'run').glob('*.pth'):
        path.unlink()
    train(config(small_config), epochs=1)
    assert epochs(folder / 'val') == [0, 1], 'a run that begins anew leaves nothing of the old one'


def test_shows_input_ground_truth_and_prediction(small_config, synthetic_camvid, tmp_path):
    cfg = config(small_config)
    cfg.model.wrong = 0.0
    train(cfg, epochs=1)
    picture = shown(tmp_path / 'run' / 'timelapse' / 'val.gif')
    assert picture.shape[1] == 3 * 64 + 2 * 4, 'the three frames of val and the gaps between them'
    title, rows = picture[132:160], [picture[start : start + 64] for start in (0, 68, 160)]
    assert (title < 100).any(), 'letters'
    name = (synthetic_camvid / 'splits' / 'val.txt').read_text().split()[0]
    frame = cv2.resize(
        cv2.imread(str(synthetic_camvid / '701_StillsRaw_full' / f'{name}.png')), (64, 64), interpolation=cv2.INTER_AREA
    )[..., ::-1]
    assert np.abs(rows[0][:, :64].astype(int) - frame).mean() < 12, 'in 256 colours'
    assert (rows[1] == rows[2]).all(), 'this oracle is right'
    colours = {tuple(colour) for colour in rows[1][:, :64].reshape(-1, 3)}
    assert colours <= set(map(tuple, PALETTE))
    assert len(colours) > 3
    assert colours <= {tuple(colour) for colour in picture[228:].reshape(-1, 3)}, 'the legend has them'


def test_draws_no_random_numbers_and_leaves_the_mode(small_config):
    states = []

    class Watch(Hook):
        def state(self, runner):
            states.append(
                (
                    random.getstate(),
                    np.random.get_state()[1].tolist(),
                    torch.get_rng_state().tolist(),
                    runner.model.training,
                )
            )

    class Before(Watch):
        priority = 'VERY_HIGH'

        def after_train_epoch(self, runner):
            self.state(runner)

    class After(Watch):
        priority = 'BELOW_NORMAL'

        def after_train_epoch(self, runner):
            self.state(runner)

    runner = SafeRunner.from_cfg(config(small_config, **{'train_cfg.max_epochs': 1}))
    runner.register_hook(Before())
    runner.register_hook(After())
    runner.train()
    before, after = states
    assert before == after


def test_interval_and_loop(small_config, tmp_path):
    cfg = config(small_config, **{'train_cfg.max_epochs': 280})
    cfg.custom_hooks = []
    runner = SafeRunner.from_cfg(cfg)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    some_sixty, seventh = TimelapseHook(), TimelapseHook(interval=7)
    some_sixty.before_train(runner)
    seventh.before_train(runner)
    assert (some_sixty.every, seventh.every) == (5, 7)
    runner._train_loop = runner.build_train_loop(dict(type='IterBasedTrainLoop', max_iters=1))
    some_sixty.before_train(runner)
    assert some_sixty.samples == {}
    [log] = tmp_path.glob('run/*/*.log')
    assert 'this run counts iterations: none is made.' in log.read_text()
    with pytest.raises(UsageError, match='must be 1 or more'):
        TimelapseHook(num_images=0)


def test_no_failure_ends_a_run(small_config, tmp_path, monkeypatch):
    cfg = config(small_config)
    monkeypatch.setattr(timelapse, 'colour_map', lambda *args: 1 / 0)
    train(cfg, epochs=1)
    assert (tmp_path / 'run' / 'epoch_1.pth').is_file()
    [log] = (tmp_path / 'run').glob('*/*.log')
    assert 'The timelapse cannot be drawn; the run continues without it: division by zero' in log.read_text()
