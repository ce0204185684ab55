"""ERFNet on CamVid's 32 classes at 256x256: the recipe of the TensorFlow project that this project started from.

What: seven augmentations, published class weights, Adam in five stages over 280 epochs, dropout 0.3, L2 of 2e-4 on the
    convolution weights; Void is one of the classes. https://github.com/ronrest/erfnet_segmentation
Costs: 103,000 images and 280 validations: 7 minutes on an H100 shared with two other runs, with 28 validations; about 4
    hours on two CPU cores with AVX-512 and bfloat16 (`--amp`), computed from 9 images/s (docs/scaling.md) and 16 s per
    validation.
Score to expect: 54.88 `mIoU_present` on val after the last epoch, over the 12 of 32 classes that occur in the frames
    used (20.58 `mIoU_all`; docs/results.md). That project reports 48.5 mIoU after 206 epochs, with absent classes
    counted as 0 (`mIoU_all` here), on 128 of the 701 frames drawn at random; `tools/prepare_camvid.py --split random`
    draws such a split. Consecutive frames are near copies, so a random split scores higher than the standard one.
Run: python tools/train.py configs/erfnet_camvid.py
"""

_base_ = [
    '_base_/models/erfnet_fcn.py',
    '_base_/datasets/camvid.py',
    '_base_/class_weights/camvid.py',
    '_base_/schedules/camvid_280e.py',
    '_base_/default_runtime.py',
]
class_weight = list(_base_.class_weights.values())
data_preprocessor = dict(size=_base_.input_size)
model = dict(
    data_preprocessor=data_preprocessor,
    backbone=dict(dropout_ratio=0.3),
    decode_head=dict(num_classes=32, loss_decode=dict(class_weight=class_weight)),
)
val_evaluator = dict(with_loss=True, class_weight=class_weight)
test_evaluator = val_evaluator
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=10),
    # A checkpoint after every epoch, the last three of which are kept, and the best one.
    checkpoint=dict(interval=1, max_keep_ckpts=3, save_best='mIoU', rule='greater'),
)
custom_hooks = [
    *_base_.custom_hooks,
    # A timelapse of predictions of the same frames: timelapse/*.gif in the work dir.
    dict(type='mmseg_erfnet.TimelapseHook'),
    # On a GPU, where launching the kernels of small batches takes longer than running them.
    dict(type='mmseg_erfnet.CudaGraphHook'),
]
