"""ERFNet on CamVid in SegNet's protocol: 360x480, 11 classes, Void ignored, the standard split 367 / 101 / 233.

What: the third and last stage of the recipe: 240 epochs with crops of the whole frame, from the last checkpoint of
    `erfnet_camvid11_stage2.py`, batch 8, 5e-4 to 0 by poly 0.9 after a warm-up of 500 iterations, with a moving average
    of the weights. The last checkpoint is the result.
Costs: 88,080 crops of 360x480: 8 minutes on an H100 shared with two other runs; 9 hours on one CPU core with AMX and
    `--amp`, computed from the second stage's throughput.
Score to expect: 73.46 mIoU on val, 74.05 with flip (docs/results.md). Others, trained on train and val, report 68.9
    (FBSNet) and 70.5 (LETNet) on test.
Run: python tools/train.py configs/erfnet_camvid11_stage1.py --amp
     python tools/train.py configs/erfnet_camvid11_stage2.py --amp
     python tools/train.py configs/erfnet_camvid11.py --amp
     with the second stage's weights from here: --cfg-options load_from=weights/erfnet_camvid11_stage2.pth
     without the first two stages: --cfg-options load_from=None
"""

_base_ = '_base_/erfnet_camvid11.py'
load_from = 'work_dirs/erfnet_camvid11_stage2/epoch_130.pth'
train_dataloader = dict(batch_size=8)
auto_scale_lr = dict(base_batch_size=8)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=1 / 3, begin=0, end=500),
    dict(type='PolyLR', by_epoch=True, convert_to_iter_based=True, power=0.9, begin=0, end=240),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=240, val_interval=20)
# Every tenth iteration; it averages about 1000 iterations, 22 epochs.
custom_hooks = [*_base_.custom_hooks, dict(type='EMAHook', momentum=0.01, interval=10, update_buffers=True)]
