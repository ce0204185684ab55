# ERFNet fine-tuned on your own data: the base of the configs that tools/prepare_dataset.py writes.
_base_ = ['models/erfnet_fcn.py', 'datasets/own.py', 'schedules/finetune_100e.py', 'default_runtime.py']
# The paper's regularisation (IV-A), with which the shipped weights were trained.
model = dict(backbone=dict(dropout_ratio=(0.03, 0.3), dropout_type='channel'))
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=10),
    checkpoint=dict(interval=2, max_keep_ckpts=3, save_best='mIoU', rule='greater'),
)
# A timelapse of predictions of the same frames: timelapse/*.gif in the work dir.
custom_hooks = [*_base_.custom_hooks, dict(type='mmseg_erfnet.TimelapseHook')]
