# Cityscapes as ERFNet's authors train on it: whole frames at half resolution, mirrored and moved by up to two pixels.
_base_ = 'cityscapes.py'
scale = (1024, 512)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmseg_erfnet.LoadSegLabels', palette=None),
    dict(type='Resize', scale=scale, keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='mmseg_erfnet.RandomTranslate', offset=2),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=False),
    dict(type='mmseg_erfnet.LoadSegLabels', palette=None),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=scale, keep_ratio=False)],
            [dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)],
            [dict(type='mmseg_erfnet.LoadSegLabels', palette=None)],
            [dict(type='PackSegInputs')],
        ],
    ),
]
train_dataloader = dict(
    batch_size=6,
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
