# CamVid in SegNet's protocol: 360x480, the 32 classes merged into 11, Void ignored. Loaders as in `camvid.py`.
_base_ = 'camvid.py'
dataset_type = 'mmseg_erfnet.CamVid11Dataset'
scale = (480, 360)
crop_size = (360, 480)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmseg_erfnet.LoadSegLabels'),
    dict(type='RandomResize', scale=scale, ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    # Test has a sequence and lighting that are not in train, so augment what depends on the weather of three sequences.
    dict(type='mmseg_erfnet.RandomShadow', prob=0.3),
    dict(type='PhotoMetricDistortion'),
    dict(type='mmseg_erfnet.RandomBrightness', prob=0.3),
    dict(type='mmseg_erfnet.RandomContrast', prob=0.3),
    dict(type='mmseg_erfnet.RandomBlur', prob=0.2),
    dict(type='mmseg_erfnet.RandomNoise', prob=0.2),
    dict(type='mmseg_erfnet.PackSegInputs'),
]
# Scored at 360x480, whatever the size of the frames: the official archives have 720x960.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='mmseg_erfnet.LoadSegLabels', size=scale),
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
# The frames are decoded once: 254 MB at 480x360, 1 GB at 960x720.
train_dataloader = dict(batch_size=4, dataset=dict(type=dataset_type, pipeline=train_pipeline, cache_gb=2))
val_dataloader = dict(dataset=dict(type=dataset_type, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(with_loss=True)
test_evaluator = val_evaluator
