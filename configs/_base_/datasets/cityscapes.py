# Cityscapes, 19 classes, random crops of 512x1024, scored at 1024x2048. The labels are read as in the official download
# (`*_gtFine_labelIds.png`); if you have created `*_gtFine_labelTrainIds.png`, set `seg_map_suffix` to that.
dataset_type = 'mmseg_erfnet.CityscapesDataset'
data_root = 'data/cityscapes'
scale = (2048, 1024)
crop_size = (512, 1024)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmseg_erfnet.LoadSegLabels', palette=None),
    dict(type='RandomResize', scale=scale, ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='mmseg_erfnet.PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
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
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
# ClassTableHook prints the classes once training is done.
val_evaluator = dict(type='mmseg_erfnet.SegmentationMetric', with_loss=True, with_table=False)
test_evaluator = dict(type='mmseg_erfnet.SegmentationMetric', with_loss=True)
