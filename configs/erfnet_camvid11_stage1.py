"""First stage of the CamVid recipe (360x480, 11 classes): 370 epochs with crops of 240x320.

What: AdamW from 1e-3 to 4e-4 by poly 0.9 after a warm-up of 500 iterations, batch 4, scales 0.5 to 2, mirroring,
    photometric augmentation, square roots of the class weights, light channel dropout. Small crops take 44 % of the
    time of whole frames. `erfnet_camvid11_stage2.py` starts from the last checkpoint.
Costs: 135,790 crops of 240x320: 10 hours on one CPU core with AMX and `--amp`, beside another run.
Score to expect: 69.73 mIoU on val at the end of this stage.
Run: python tools/train.py configs/erfnet_camvid11_stage1.py --amp
"""

_base_ = '_base_/erfnet_camvid11.py'
crop_size = (240, 320)
# The pipeline of the base, with smaller crops.
train_pipeline = [
    dict(step, crop_size=crop_size) if step['type'] == 'RandomCrop' else step for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(data_preprocessor=dict(size=crop_size))
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=1 / 3, begin=0, end=500),
    dict(type='PolyLR', by_epoch=True, convert_to_iter_based=True, power=0.9, eta_min=4e-4, begin=0, end=370),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=370, val_interval=10)
