# Fine-tuning: 100 epochs of AdamW at half the learning rate of training from scratch, a warm-up of 5 epochs from a
# tenth of it, and poly 0.9, both by iteration. A warm-up counted in iterations could last as long as the run, because
# few frames make short epochs.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=1e-2),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    constructor='mmseg_erfnet.MergedGroupsConstructor',
)
param_scheduler = [
    dict(type='LinearLR', by_epoch=True, convert_to_iter_based=True, start_factor=0.1, begin=0, end=5),
    dict(type='PolyLR', by_epoch=True, convert_to_iter_based=True, power=0.9, begin=0, end=100),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100, val_interval=2)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=8)
