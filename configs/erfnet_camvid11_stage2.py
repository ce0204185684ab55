"""Second stage of the CamVid recipe (360x480, 11 classes): 130 epochs with crops of the whole frame.

What: from the last checkpoint of `erfnet_camvid11_stage1.py`, 4e-4 to 0 by poly 0.9, batch 4, with a moving average of
    the weights. `erfnet_camvid11.py` and `erfnet_camvid11_trainval.py` start from the last checkpoint.
Costs: 47,710 crops of 360x480: 5 hours on one CPU core with AMX and `--amp`, beside another run.
Score to expect: 72.34 mIoU on val at the end of this stage (weights/erfnet_camvid11_stage2.pth).
Run: python tools/train.py configs/erfnet_camvid11_stage2.py --amp
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
