"""MMEngine's wrappers around our datasets: in training with its hooks, in the doctor, in the report."""

from copy import deepcopy

import pytest
from helpers import exports
from mmengine.config import Config, ConfigDict

from mmseg_erfnet import doctor
from mmseg_erfnet.datasets.preparation import config_path, prepare_dataset, write_config
from mmseg_erfnet.datasets.wrappers import inner_configs, with_pipeline
from mmseg_erfnet.engine.launch import train
from mmseg_erfnet.reports.dataset import write_dataset_report


def wrapped(kind: str, dataset: dict) -> dict:
    repeated = dict(type='RepeatDataset', times=2, dataset=dataset)
    return {
        'RepeatDataset': repeated,
        'ClassBalancedDataset': dict(type='ClassBalancedDataset', oversample_thr=0.5, dataset=dataset),
        'ConcatDataset': dict(type='ConcatDataset', datasets=[dict(dataset, indices=3), repeated]),
    }[kind]


@pytest.fixture(scope='module')
def config(tmp_path_factory) -> Config:
    root = tmp_path_factory.mktemp('wrapped')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        prepared = prepare_dataset(exports.roboflow(root / 'export'), root / 'data/streets')
        write_config(prepared, config_path(prepared.out))
        cfg = Config.fromfile(root / 'configs/streets.py')
    for part in ('train', 'val', 'test'):
        loader = cfg[f'{part}_dataloader']
        loader.dataset.data_root = str(root / 'data/streets')
        loader.num_workers, loader.persistent_workers, loader.batch_size = 0, False, 2
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1, val_interval=1)
    cfg.param_scheduler, cfg.load_from, cfg.launcher = [], None, 'none'
    return cfg


@pytest.mark.parametrize('kind', ['RepeatDataset', 'ClassBalancedDataset', 'ConcatDataset'])
def test_doctor_and_report(kind, config, tmp_path):
    cfg = deepcopy(config)
    cfg.train_dataloader.dataset = wrapped(kind, cfg.train_dataloader.dataset.to_dict())
    cfg.work_dir = str(tmp_path)
    cfg.dump(tmp_path / 'config.py')
    assert [str(finding) for finding in doctor.examine(str(tmp_path / 'config.py')) if finding.remedy] == []
    classes, _ = write_dataset_report(cfg, tmp_path / 'out', samples=2, augmented=1, variants=1)
    assert classes == exports.CLASSES
    assert 'FolderDataset' in (tmp_path / 'out/report.html').read_text()


@pytest.mark.slow
def test_training_with_all_hooks(config, tmp_path):
    """Scoring training frames and the timelapse take the frames out of the wrapper, validated ones, too."""
    cfg = deepcopy(config)
    cfg.train_dataloader.dataset = wrapped('ConcatDataset', cfg.train_dataloader.dataset.to_dict())
    cfg.val_dataloader.dataset = wrapped('RepeatDataset', cfg.val_dataloader.dataset.to_dict())
    cfg.work_dir = str(tmp_path)
    runner = train(cfg)
    assert runner.iter == 8  # (3 + 2 * 6) / 2
    assert (tmp_path / 'timelapse/train.gif').is_file()
    assert '9 training frames without augmentation: mIoU ' in next(tmp_path.glob('*/*.log')).read_text()


def test_configs_are_seen_through_and_stay_as_they_are():
    inner = ConfigDict(type='A', pipeline=[1])
    config = ConfigDict(type='ConcatDataset', datasets=[inner, dict(type='RepeatDataset', dataset=inner, times=3)])
    assert [part.type for part in inner_configs(config)] == ['A', 'A']
    assert with_pipeline(config, [2]).datasets[1].pipeline == [2]
    assert with_pipeline(config.datasets[1], [2]) == dict(type='A', pipeline=[2])
    assert inner.pipeline == [1]
