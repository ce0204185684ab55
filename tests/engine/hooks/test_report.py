import json

import numpy as np
import pytest
import torch
from helpers.oracle import Oracle  # noqa: F401  (registers it)
from matplotlib.image import imread

from mmseg_erfnet.engine.hooks import curves as curves_module
from mmseg_erfnet.engine.hooks import report as report_module
from mmseg_erfnet.engine.launch import evaluate, train


@pytest.fixture
def tested(small_config, tmp_path):
    """Work dir of a test of ten frames, of which the oracle is wrong about the left half."""
    checkpoint = tmp_path / 'oracle.pth'
    torch.save(dict(state_dict=dict(wrong=torch.tensor(0.5))), checkpoint)

    def run(config=None, **options):
        cfg = small_config('erfnet_camvid', drawing=True, **options)
        object.__setattr__(cfg, '_filename', config)
        cfg.model = dict(type='mmseg_erfnet.Oracle', data_preprocessor=cfg.model.data_preprocessor)
        cfg.test_dataloader.dataset.ann_file = 'splits/train.txt'
        metrics = evaluate(cfg, str(checkpoint))
        return tmp_path / 'run', metrics

    return run


def test_a_test_leaves_a_report_with_its_best_and_worst_images(tested):
    work_dir, metrics = tested()
    metrics = json.loads((work_dir / 'metrics.json').read_text())
    assert metrics['mIoU'] == metrics['mIoU']
    assert (metrics['dataset'], metrics['split']) == ('mmseg_erfnet.CamVidDataset', 'splits/train.txt')
    assert metrics['checkpoint'].endswith('oracle.pth')
    assert len(metrics['palette']) == 32
    examples = json.loads((work_dir / 'examples' / 'index.json').read_text())
    assert [example['kind'] for example in examples] == ['best'] * 3 + ['worst'] * 3
    scores = [example['mIoU'] for example in examples]
    assert scores[0] >= scores[1] >= scores[2] >= scores[5] >= scores[4] >= scores[3]
    assert len({example['name'] for example in examples}) == 6
    page = (work_dir / 'report.html').read_text()
    assert all(f'{example["kind"]}: {example["name"]}' in page for example in examples)
    assert f'{metrics["mIoU"]:.2f} %' in page


def test_a_test_replaces_nothing_of_a_training_run(tested, tmp_path):
    work_dir = tmp_path / 'run'
    work_dir.mkdir()
    dumped = work_dir / 'config.py'
    dumped.write_text('lr = 0.1')
    for images in (1, 2):
        tested(config='config.py', **{'test_dataloader.dataset.indices': images})
    assert dumped.read_text() == 'lr = 0.1'
    assert not list(work_dir.glob('2*.py'))
    folders = sorted(path.parent for path in work_dir.glob('*/vis_data'))
    kept = [json.loads((folder / 'metrics.json').read_text()) for folder in folders]
    assert [metrics['images'] for metrics in kept] == [1, 2]
    assert json.loads((work_dir / 'metrics.json').read_text()) == kept[1]
    assert all('test_dataloader' in (folder / 'config.py').read_text() for folder in folders)


def test_few_images_are_shown_once_each_though_the_config_has_no_hook(tested):
    work_dir, _ = tested(custom_hooks=[], **{'test_dataloader.dataset.indices': 3})
    examples = json.loads((work_dir / 'examples' / 'index.json').read_text())
    assert [example['kind'] for example in examples] == ['best', 'best', 'worst']
    assert len({example['name'] for example in examples}) == 3
    assert (work_dir / 'report.html').is_file()


def test_training_draws_curves_and_a_report(small_config, tmp_path):
    cfg = small_config('erfnet_camvid', drawing=True)
    cfg.model = dict(type='mmseg_erfnet.Oracle', data_preprocessor=cfg.model.data_preprocessor)
    cfg.train_dataloader.dataset.indices = 4
    train(cfg, epochs=2)
    curves = imread(tmp_path / 'run' / 'curves.png')
    assert len(np.unique(curves.reshape(-1, curves.shape[2]), axis=0)) > 3, 'something is drawn'
    page = (tmp_path / 'run' / 'report.html').read_text()
    assert 'best mIoU on val, epoch' in page
    assert 'mmseg_erfnet.CamVidDataset, splits/val.txt' in page
    assert 'num_images=100' in page, 'the config'
    [environment] = (tmp_path / 'run').glob('*/environment.json')
    assert json.loads(environment.read_text())['torch'] == torch.__version__


@pytest.mark.parametrize('kind', ['mmseg_erfnet.SegmentationMetric', 'IoUMetric'])
def test_a_test_scores_as_the_config_says(kind, tested):
    evaluator = dict(type=kind, iou_metrics=['mDice'], nan_to_num=0)
    work_dir, metrics = tested(test_evaluator=evaluator, **{'test_dataloader.dataset.indices': 2})
    assert metrics['mDice'] == json.loads((work_dir / 'metrics.json').read_text())['mDice']
    assert min(values for name, values in metrics.items() if name.startswith('Dice/')) == 0
    assert len([name for name in metrics if name.startswith('Dice/')]) == 32


def test_images_are_scored_with_the_evaluators_ignore_index(tested):
    evaluator = dict(type='mmseg_erfnet.SegmentationMetric', ignore_index=0)
    work_dir, metrics = tested(test_evaluator=evaluator, **{'test_dataloader.dataset.indices': 1})
    [example] = json.loads((work_dir / 'examples' / 'index.json').read_text())
    assert example['mIoU'] == pytest.approx(metrics['mIoU'])


def oracle_run(small_config, **options):
    cfg = small_config('erfnet_camvid', drawing=True, **options)
    cfg.model = dict(type='mmseg_erfnet.Oracle', data_preprocessor=cfg.model.data_preprocessor)
    cfg.custom_hooks = [dict(type='mmseg_erfnet.CurvesHook'), dict(type='mmseg_erfnet.ReportHook')]
    cfg.train_dataloader.dataset.indices = cfg.val_dataloader.dataset.indices = 2
    return cfg


def test_no_failure_of_report_or_curves_ends_a_run(small_config, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError('no room')

    monkeypatch.setattr(report_module, 'write_run_report', fail)
    monkeypatch.setattr(report_module, 'describe_environment', fail)
    monkeypatch.setattr(curves_module, 'draw_curves', fail)
    train(oracle_run(small_config), epochs=1)
    assert (tmp_path / 'run' / 'epoch_1.pth').is_file()
    [log] = (tmp_path / 'run').glob('*/*.log')
    for what in ('report.html', 'curves.png', 'The environment in the report'):
        assert f'{what} cannot be drawn; the run continues without it: no room' in log.read_text()


def test_damaged_logs_of_an_older_run_do_not_end_a_new_one(small_config, tmp_path):
    old = tmp_path / 'run' / '20200101_000000'
    (old / 'vis_data').mkdir(parents=True)
    lines = ['{"lr": 1}', '3', '{"mIoU": "x", "step": 1}', '[' * 100_000, '{"lr": 1, "epoch": 1e999}']
    (old / 'vis_data' / 'scalars.json').write_bytes('\n'.join(lines).encode() + b'\n\xff\xfe')
    (old / 'environment.json').write_text('{')
    train(oracle_run(small_config), epochs=1)
    assert imread(tmp_path / 'run' / 'curves.png').shape[0] > 300
    assert 'best mIoU on val, epoch 1' in (tmp_path / 'run' / 'report.html').read_text()
