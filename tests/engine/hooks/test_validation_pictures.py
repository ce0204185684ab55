import numpy as np
import pytest
from helpers.oracle import Oracle  # noqa: F401  (registers it)
from matplotlib.image import imread
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmseg_erfnet.engine.hooks import ValidationPicturesHook, validation_pictures
from mmseg_erfnet.engine.launch import train
from mmseg_erfnet.errors import UsageError


@pytest.fixture
def cfg(small_config):
    cfg = small_config('erfnet_camvid', drawing=True)
    cfg.model = dict(type='mmseg_erfnet.Oracle', data_preprocessor=cfg.model.data_preprocessor)
    cfg.custom_hooks = [dict(type='mmseg_erfnet.ValidationPicturesHook', num_images=2)]
    cfg.train_dataloader.dataset.indices = 4
    return cfg


def test_tensorboard_and_the_work_dir_get_the_same_frames_each_time(cfg, tmp_path):
    train(cfg, epochs=2)
    [folder] = (tmp_path / 'run').glob('*/vis_data')
    events = EventAccumulator(str(folder), size_guidance=dict(images=0)).Reload()
    assert events.Tags()['images'] == ['validation_1', 'validation_2']
    for name in events.Tags()['images']:
        assert [event.step for event in events.Images(name)] == [1, 2]
    files = sorted((folder / 'vis_image').iterdir())
    assert [path.name for path in files] == [
        f'validation_{number}_{epoch}.png' for number in (1, 2) for epoch in (1, 2)
    ]
    first, second = (imread(path) for path in files[:2])
    third = first.shape[1] // 3
    assert (first[:80, :third] == second[:80, :third]).all(), 'the same input'
    assert len(np.unique(first.reshape(-1, first.shape[2]), axis=0)) > 20


def test_some_ten_times_in_a_run_and_at_its_end(cfg, tmp_path, monkeypatch):
    monkeypatch.setattr(validation_pictures, 'comparison', lambda *args: np.zeros((4, 4, 3), np.uint8))
    cfg.train_dataloader.dataset.indices = cfg.val_dataloader.dataset.indices = 1
    cfg.default_hooks.checkpoint.update(interval=25, save_best=None)
    train(cfg, epochs=25)
    [folder] = (tmp_path / 'run').glob('*/vis_data/vis_image')
    steps = sorted(int(path.stem.rpartition('_')[2]) for path in folder.iterdir())
    assert steps == [*range(2, 25, 2), 25]


def test_a_failure_never_ends_a_run(cfg, tmp_path, monkeypatch):
    monkeypatch.setattr(validation_pictures, 'comparison', lambda *args: 1 / 0)
    train(cfg, epochs=1)
    [log] = (tmp_path / 'run').glob('*/*.log')
    assert 'A picture of a validation frame cannot be drawn; the run continues without it: division' in log.read_text()
    assert (tmp_path / 'run' / 'epoch_1.pth').is_file()


@pytest.mark.parametrize('arguments', [dict(num_images=0), dict(interval=0)])
def test_wrong_arguments(arguments):
    with pytest.raises(UsageError, match='must be 1 or more'):
        ValidationPicturesHook(**arguments)
