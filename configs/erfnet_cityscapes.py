"""ERFNet on Cityscapes as MMSegmentation publishes it.

What: crops of 512x1024, 4 GPUs x 4 images, SGD 0.01, poly 0.9, 160k iterations, 19 classes
    (https://github.com/open-mmlab/mmsegmentation/tree/main/configs/erfnet).
Costs: 6 GB of memory per GPU, as MMSegmentation reports. 2.6 million crops are too many for a CPU.
Score to expect: MMSegmentation reported 72.5 mIoU, 74.75 with six scales and flip, on val at 1024x2048 in 2022 (71.08
    and 72.6 in 2021). We have not run it in full.
Run: torchrun --nproc_per_node 4 tools/train.py configs/erfnet_cityscapes.py --launcher pytorch
"""

_base_ = [
    '_base_/models/erfnet_fcn.py',
    '_base_/datasets/cityscapes.py',
    '_base_/schedules/cityscapes_160k.py',
    '_base_/default_runtime.py',
]
data_preprocessor = dict(size=_base_.crop_size)
model = dict(data_preprocessor=data_preprocessor)
log_processor = dict(by_epoch=False)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=4000, max_keep_ckpts=3, save_best='mIoU', rule='greater'),
)
