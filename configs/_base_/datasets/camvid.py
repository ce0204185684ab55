# CamVid, all 32 classes, at 256x256: every frame is resized to a square and scored at that size, as in the TensorFlow
# project.
dataset_type = 'mmseg_erfnet.CamVidDataset'
data_root = 'data/camvid'
input_size = (256, 256)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmseg_erfnet.LoadSegLabels'),
    # As in that project, each frame gets all of them.
    dict(type='mmseg_erfnet.RandomShadow', prob=1.0),
    dict(type='mmseg_erfnet.RandomRotateCropResize', size=input_size, degree=30),
    dict(type='mmseg_erfnet.RandomBrightness', prob=1.0),
    dict(type='mmseg_erfnet.RandomContrast', prob=1.0),
    dict(type='mmseg_erfnet.RandomBlur', prob=1.0),
    dict(type='mmseg_erfnet.RandomNoise', prob=1.0),
    dict(type='mmseg_erfnet.PackSegInputs'),
]
# `size` resizes the label (nearest), and predictions are scored at that size.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=input_size, keep_ratio=False),
    dict(type='mmseg_erfnet.LoadSegLabels', size=input_size),
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
    batch_size=16,
    num_workers=2,
    # EpochSeedHook seeds each sample by epoch and index: a resumed run is identical, also with other workers.
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    # The frames are decoded once: 254 MB at 480x360, 1 GB at 960x720.
    dataset=dict(
        type=dataset_type, data_root=data_root, ann_file='splits/train.txt', pipeline=train_pipeline, cache_gb=2
    ),
)
# All frames have the same size here, so they can be scored in batches.
val_dataloader = dict(
    batch_size=2,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, data_root=data_root, ann_file='splits/val.txt', pipeline=test_pipeline),
)
test_dataloader = val_dataloader
# ClassTableHook prints the classes once training is done.
val_evaluator = dict(type='mmseg_erfnet.SegmentationMetric', with_table=False)
test_evaluator = dict(type='mmseg_erfnet.SegmentationMetric')
