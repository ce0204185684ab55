# Cityscapes as ERFNet's authors train on it: whole frames at half resolution, flipped and shifted by up to two pixels.
_base_ = 'cityscapes.py'
scale = (1024, 512)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmseg_erfnet.LoadSegLabels', palette=None),
    dict(type='Resize', scale=scale, keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='mmseg_erfnet.RandomTranslate', offset=2),
    dict(type='mmseg_erfnet.PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=False),
    dict(type='mmseg_erfnet.LoadSegLabels', palette=None),
    dict(type='mmseg_erfnet.PackSegInputs'),
]
# For MMSegmentation's own tools: an image and its mirror image. tools/test.py derives the same from `test_pipeline`.
tta_pipeline = [
    test_pipeline[0],
    dict(
        type='TestTimeAug',
        transforms=[
            [test_pipeline[1]],
            [dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)],
            *[[step] for step in test_pipeline[2:]],
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
