# Your own data, as written by tools/prepare_dataset.py. The config that it writes adds the folder and the size.
dataset_type = 'mmseg_erfnet.FolderDataset'
loading = [dict(type='LoadImageFromFile'), dict(type='mmseg_erfnet.LoadSegLabels', palette=None)]
# Photos keep their proportions.
resize = dict(type='Resize', keep_ratio=True)
# The label is loaded after the resize, so it keeps its own size, and predictions are scored at that size.
packing = [loading[1], dict(type='PackSegInputs')]
# After resizing and cropping. RandomFlip exchanges left and right; remove it if that changes a class.
augmentation = [
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='mmseg_erfnet.RandomBlur', prob=0.3),
    dict(type='mmseg_erfnet.RandomNoise', prob=0.3),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    # EpochSeedHook seeds each sample by epoch and index: a resumed run is identical, also with other workers.
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    # The frames are decoded once.
    dataset=dict(type=dataset_type, ann_file='splits/train.txt', cache_gb=2),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, ann_file='splits/val.txt'),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='mmseg_erfnet.SegmentationMetric', with_loss=True)
test_evaluator = val_evaluator
