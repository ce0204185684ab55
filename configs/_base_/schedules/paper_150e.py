# The paper's schedule (section IV-A): Adam 5e-4, weight decay 1e-4, rate times (1 - k / 150)^0.9 in epoch k = 0 .. 149.
# PolyLR reaches zero one epoch before its end, hence 151.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=5e-4, betas=(0.9, 0.999), weight_decay=1e-4))
param_scheduler = [dict(type='PolyLR', by_epoch=True, power=0.9, begin=0, end=151)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=150, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=6)
