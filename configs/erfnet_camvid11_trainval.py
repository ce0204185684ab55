"""ERFNet on CamVid in SegNet's protocol, trained on train and val together: 468 frames, as in the best known results.

What: the third stage of `erfnet_camvid11.py` on train and val, with as many iterations, from the same second stage,
    which saw only train. Nothing is selected: there is no validation, and the last checkpoint is the result.
    `tools/test.py` scores the test split, 233 frames.
Costs: 88,920 crops of 360x480: as `erfnet_camvid11.py`.
Score to expect: unknown, since the shipped weights were not scored on test (docs/results.md). The same stage on train
    alone reaches 73.46 mIoU on val.
Run: python tools/train.py configs/erfnet_camvid11_stage1.py --amp
     python tools/train.py configs/erfnet_camvid11_stage2.py --amp
     python tools/train.py configs/erfnet_camvid11_trainval.py --amp
     python tools/test.py configs/erfnet_camvid11_trainval.py work_dirs/erfnet_camvid11_trainval/epoch_190.pth
"""

_base_ = 'erfnet_camvid11.py'
train_dataloader = dict(dataset=dict(ann_file='splits/trainval.txt'))
val_dataloader = None
val_evaluator = None
val_cfg = None
test_dataloader = dict(dataset=dict(ann_file='splits/test.txt'))
# As many iterations as on train.
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=190)]
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=190)
default_hooks = dict(checkpoint=dict(save_best=None))
# The hooks of the base, except those that score or show validation frames.
custom_hooks = [
    hook
    for hook in _base_.custom_hooks
    if hook['type'] not in ('mmseg_erfnet.TrainScoreHook', 'mmseg_erfnet.TimelapseHook')
]
