"""A user's workflow with a config: train it, score the result, load it elsewhere."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT
from mmseg.apis import inference_model, init_model

from mmseg_erfnet.engine.launch import evaluate, train
from mmseg_erfnet.errors import DataError, UsageError
from mmseg_erfnet.models import ERFNet


def logged(work_dir, key: str) -> list[float]:
    """Return the values that a run logged under a name."""
    lines = [
        json.loads(line)
        for path in sorted(work_dir.glob('*/vis_data/scalars.json'))
        for line in path.read_text().splitlines()
    ]
    return [line[key] for line in lines if key in line]


@pytest.fixture(scope='module')
def trained(shrunk_config, tmp_path_factory) -> Path:
    """Work dir of a run of one epoch."""
    work_dir = tmp_path_factory.mktemp('trained')
    train(shrunk_config('erfnet_camvid', work_dir, **{'train_cfg.max_epochs': 1}))
    return work_dir


def test_train_logs_saves_and_scores_alike(small_config, tmp_path):
    work_dir = tmp_path / 'run'
    train(small_config('erfnet_camvid', work_dir, **{'train_cfg.max_epochs': 2}))
    runner = train(small_config('erfnet_camvid', work_dir, **{'train_cfg.max_epochs': 3}), resume=True)
    assert type(runner.model.backbone) is ERFNet
    assert sorted(path.name for path in work_dir.glob('epoch_*.pth')) == ['epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth']
    for key in ('train/loss', 'val/loss', 'val/mIoU', 'train/mIoU', 'val/IoU/Road'):
        assert len(logged(work_dir, key)) == 3, f'{key} is logged after each epoch'
    (best,) = work_dir.glob('best_mIoU_epoch_*.pth')
    scores = logged(work_dir, 'val/mIoU')
    assert best.name == f'best_mIoU_epoch_{1 + int(np.argmax(scores))}.pth'

    options = {'test_dataloader.dataset.ann_file': 'splits/val.txt'}
    metrics = evaluate(small_config('erfnet_camvid', tmp_path / 'score', **options), str(best))
    assert metrics['mIoU'] == pytest.approx(max(scores), abs=1e-6)
    report = json.loads((tmp_path / 'score' / 'metrics.json').read_text())
    assert report['mIoU'] == metrics['mIoU']
    assert report['size'] == [64, 64], 'scored at the size of the input'
    assert report['tta'] is None

    plain = torch.load(best, weights_only=True)
    assert set(plain) >= {'meta', 'state_dict'}


def test_overfits_a_handful(small_config, tmp_path):
    options = {
        'train_dataloader.dataset.indices': 4,
        'train_dataloader.dataset.pipeline': [
            dict(type='LoadImageFromFile'),
            dict(type='mmseg_erfnet.LoadSegLabels'),
            dict(type='Resize', scale=(64, 64)),
            dict(type='PackSegInputs'),
        ],
        'model.backbone.dropout_ratio': 0.0,
        'model.decode_head.dropout_ratio': 0.0,
        'optim_wrapper.optimizer.lr': 2e-3,
        'val_cfg': None,
        'val_dataloader': None,
        'val_evaluator': None,
        'custom_hooks': [],
        'param_scheduler': [],
        'train_cfg.max_epochs': 40,
        'default_hooks.checkpoint.interval': 40,
    }
    train(small_config('erfnet_camvid', tmp_path, **options))
    losses = logged(tmp_path, 'train/loss')
    assert losses[-1] < losses[0] / 3


@pytest.mark.slow
def test_tta_is_flip_unless_scales_are_given(small_config, tmp_path):
    torch.manual_seed(0)
    runner = train(small_config('erfnet_camvid11', tmp_path / 'run', **{'train_cfg.max_epochs': 1}))
    checkpoint = str(next((tmp_path / 'run').glob('epoch_1.pth')))
    frames = len(runner.val_dataloader.dataset)
    metrics = {}
    for name, scales in (('flip', (1.0,)), ('scales', (0.75, 1.0))):
        metrics[name] = evaluate(
            small_config('erfnet_camvid11', tmp_path / name),
            checkpoint,
            tta=True,
            tta_scales=scales,
            out_dir=str(tmp_path / name / 'maps'),
        )
        report = json.loads((tmp_path / name / 'metrics.json').read_text())
        assert report['tta'] == dict(flip=True, scales=list(scales))
        assert report['images'] == frames
    maps = [
        cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        for name in metrics
        for path in sorted((tmp_path / name / 'maps').glob('*.png'))
    ]
    assert len(maps) == 2 * frames
    assert {picture.shape for picture in maps} == {(96, 128)}, "label maps have the label's own size"

    # Computed by hand: the mean of the softmax over the frame and its flipped copy.
    model = init_model(small_config('erfnet_camvid11'), checkpoint, device='cpu')
    info = runner.val_dataloader.dataset.get_data_info(0)
    frame = cv2.imread(info['img_path'])
    logits = [
        inference_model(model, np.ascontiguousarray(picture)).seg_logits.data.softmax(0)
        for picture in (frame, frame[:, ::-1])
    ]
    by_hand = (logits[0] + logits[1].flip(-1)).argmax(0).numpy()
    assert (maps[0] == by_hand).mean() > 0.999


def test_pictures_and_label_maps_are_written(trained, small_config, tmp_path):
    cfg = small_config('erfnet_camvid', tmp_path / 'score')
    evaluate(cfg, str(trained / 'epoch_1.pth'), out_dir=str(tmp_path / 'maps'), show_dir=str(tmp_path / 'painted'))
    maps, painted = sorted((tmp_path / 'maps').glob('*.png')), sorted((tmp_path / 'painted').glob('*.png'))
    assert [path.name for path in maps] == [path.name for path in painted]
    assert cv2.imread(str(maps[0]), cv2.IMREAD_UNCHANGED).shape == (64, 64)
    assert cv2.imread(str(painted[0])).shape[1] == 3 * 64


def test_bfloat16_on_this_device(small_config, tmp_path, monkeypatch):
    monkeypatch.setattr('mmseg_erfnet.engine.amp.fast_bfloat16', lambda: True)  # a CPU without it emulates it
    cfg = small_config('erfnet_camvid', tmp_path, **{'train_cfg.max_epochs': 1})
    seen = []
    runner = train(cfg, amp=True)
    assert type(runner.optim_wrapper).__name__ == 'BFloat16OptimWrapper'
    handle = runner.model.backbone.register_forward_hook(lambda module, inputs, output: seen.append(output[0].dtype))
    batch = next(iter(runner.train_dataloader))
    runner.model.train_step(batch, runner.optim_wrapper)
    handle.remove()
    assert seen == [torch.bfloat16]
    assert {value.dtype for value in runner.model.parameters()} == {torch.float32}


def test_loads_where_the_project_is_not(trained, tmp_path):
    """`init_model` and `MMSegInferencer`, in another folder, from the config file alone."""
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    cv2.imwrite(str(elsewhere / 'frame.png'), np.full((90, 120, 3), 128, np.uint8))
    code = f"""
from mmseg.apis import MMSegInferencer, inference_model, init_model
config, checkpoint = {str(ROOT / 'configs' / 'erfnet_camvid.py')!r}, {str(trained / 'epoch_1.pth')!r}
model = init_model(config, checkpoint, device='cpu')
print(type(model.backbone).__module__, tuple(inference_model(model, 'frame.png').pred_sem_seg.shape))
inferencer = MMSegInferencer(config, checkpoint, device='cpu')
print(type(inferencer.model.backbone).__module__, inferencer('frame.png')['predictions'].shape)
print(len(inferencer.model.dataset_meta['classes']))
"""
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], cwd=elsewhere, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    module = 'mmseg_erfnet.models.erfnet'
    lines = [line for line in result.stdout.splitlines() if line.startswith(('mmseg_erfnet', '32'))]
    assert lines == [f'{module} (90, 120)', f'{module} (90, 120)', '32']


def test_splits_that_overlap_end_before_training(small_config, tmp_path):
    cfg = small_config('erfnet_camvid', tmp_path, **{'val_dataloader.dataset.ann_file': 'splits/train.txt'})
    with pytest.raises(DataError, match='in the training and in the validation split'):
        train(cfg)


def test_batch_that_the_config_was_not_tuned_for_is_said(trained):
    [log] = trained.glob('*/*.log')
    assert 'x batch 4 = 4 images per iteration; this config was tuned for 16' in log.read_text()


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda cfg: train(cfg, epochs=0), 'epochs must be 1 or more: got 0'),
        (lambda cfg: evaluate(cfg, 'missing.pth'), 'no checkpoint missing.pth'),
    ],
)
def test_what_cannot_be_done_is_said(call, message, small_config, tmp_path):
    with pytest.raises(UsageError, match=message):
        call(small_config('erfnet_camvid', tmp_path))
