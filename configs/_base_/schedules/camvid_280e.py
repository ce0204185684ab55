# The TensorFlow project's stages: 8e-4 for 80 epochs, 5e-4 for 80, then 2e-4, 1e-4 and 5e-5 for 40 each. Written as
# factors at the stage boundaries: a chain of ConstantLR would return to the base rate in each stage's last epoch.
optim_wrapper = dict(
    type='OptimWrapper',
    # Adam's own weight decay is L2 in the gradient, as in that project; applied to convolution weights only.
    optimizer=dict(type='Adam', lr=8e-4, weight_decay=2e-4),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    constructor='mmseg_erfnet.MergedGroupsConstructor',
)
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=True, milestones=[80], gamma=0.625),
    dict(type='MultiStepLR', by_epoch=True, milestones=[160], gamma=0.4),
    dict(type='MultiStepLR', by_epoch=True, milestones=[200, 240], gamma=0.5),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=280, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=16)
