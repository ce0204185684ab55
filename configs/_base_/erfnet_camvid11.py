# Model, data, loss and hooks that the configs of the CamVid recipe share. SegNet's protocol: 360x480, 11 classes, Void
# ignored, the standard split 367 / 101 / 233.
_base_ = [
    'models/erfnet_fcn.py',
    'datasets/camvid11.py',
    'class_weights/camvid11.py',
    'default_runtime.py',
]
# Square roots: a compromise between full weights, which small classes need, and none, which scored higher on held-out
# sequences (docs/results.md).
class_weight = [weight**0.5 for weight in _base_.class_weights.values()]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(dropout_ratio=(0.03, 0.1), dropout_type='channel'),
    decode_head=dict(num_classes=11, loss_decode=dict(class_weight=class_weight)),
)
val_evaluator = dict(class_weight=class_weight)
test_evaluator = val_evaluator
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-2),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    constructor='mmseg_erfnet.MergedGroupsConstructor',
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=4)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=10),
    checkpoint=dict(interval=5, max_keep_ckpts=2, save_best='mIoU', rule='greater'),
)
custom_hooks = [
    *_base_.custom_hooks,
    # A timelapse of predictions of the same frames: timelapse/*.gif in the work dir.
    dict(type='mmseg_erfnet.TimelapseHook'),
    # On a GPU, where launching the kernels of small batches takes longer than running them.
    dict(type='mmseg_erfnet.CudaGraphHook'),
]
