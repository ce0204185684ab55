"""ERFNet on CamVid in SegNet's protocol: 360x480, 11 classes, Void ignored, the standard split 367 / 101 / 233.

What: the second stage of the recipe: 130 epochs with crops of the whole frame, from the last checkpoint of
    `erfnet_camvid11_stage1.py`, 4e-4 to 0 by poly 0.9, with a moving average of the weights. The last checkpoint is
    the result.
Costs: 47,710 crops of 360x480: 5 hours on one CPU core with AMX and `--amp`, beside another run.
Score to expect: 72.34 mIoU on val, 72.89 with flip (docs/results.md). Others, trained on train and val, report 68.9
    (FBSNet) and 70.5 (LETNet) on test.
Run: python tools/train.py configs/erfnet_camvid11_stage1.py --amp
     python tools/train.py configs/erfnet_camvid11.py --amp
     with the first stage's weights from here: --cfg-options load_from=weights/erfnet_camvid11_stage1.pth
     without the first stage: --cfg-options load_from=None
"""

_base_ = '_base_/erfnet_camvid11.py'
load_from = 'work_dirs/erfnet_camvid11_stage1/epoch_370.pth'
optim_wrapper = dict(optimizer=dict(lr=4e-4))
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=1 / 3, begin=0, end=100),
    dict(type='PolyLR', by_epoch=True, convert_to_iter_based=True, power=0.9, begin=0, end=130),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=130, val_interval=10)
# About 11 epochs.
custom_hooks = [*_base_.custom_hooks, dict(type='EMAHook', momentum=0.001, update_buffers=True)]
