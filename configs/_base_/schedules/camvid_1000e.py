# 1000 epochs of 46 iterations (367 frames in batches of 8): AdamW, a warm-up of 500 iterations from a third of the
# rate, then poly 0.9 by iteration.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-2),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=1 / 3, begin=0, end=500),
    dict(type='PolyLR', by_epoch=True, convert_to_iter_based=True, power=0.9, begin=0, end=1000),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1000, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=8)
