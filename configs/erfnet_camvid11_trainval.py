"""ERFNet on CamVid in SegNet's protocol, trained on train and val together: 468 frames, as for the best known metrics.

What: the recipe of `erfnet_camvid11.py`, untouched. Nothing is chosen here: there is no validation, and what counts is
    the last checkpoint. `tools/test.py` scores the test split, 233 frames.
Costs: 1.3 times what `erfnet_camvid11.py` costs.
Score to expect: not run in full yet, and test not scored: weights/erfnet_camvid11_trainval.pth is from 27 epochs after
    222 on train alone (docs/results.md). Others report 68.9 mIoU (FBSNet) and 70.5 (LETNet) in this way.
Run: python tools/train.py configs/erfnet_camvid11_trainval.py
     python tools/test.py configs/erfnet_camvid11_trainval.py work_dirs/erfnet_camvid11_trainval/epoch_1000.pth
"""

_base_ = 'erfnet_camvid11.py'
train_dataloader = dict(dataset=dict(ann_file='splits/trainval.txt'))
val_dataloader = None
val_evaluator = None
val_cfg = None
test_dataloader = dict(dataset=dict(ann_file='splits/test.txt'))
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=1000)
default_hooks = dict(checkpoint=dict(save_best=None))
# Those of the base but for the hooks that score or show validation frames.
custom_hooks = [
    hook
    for hook in _base_.custom_hooks
    if hook['type'] not in ('mmseg_erfnet.TrainScoreHook', 'mmseg_erfnet.TimelapseHook')
]
