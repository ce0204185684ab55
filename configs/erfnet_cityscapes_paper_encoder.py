"""The authors' recipe, first half: ERFNet's encoder with a 1x1 classifier, trained on Cityscapes' labels at 1/8.

What: 512x1024, Adam, 150 epochs, batch 6, flips and translation by 0 to 2 pixels, class weights of the labels at
    that size (Romera et al., 2017, IV-A; https://github.com/Eromera/erfnet_pytorch). `erfnet_cityscapes_paper.py`
    starts from the result.
Costs: 446,000 images of 512x1024. Use a GPU; two CPU cores with AVX-512 and `--amp` would take about 5 days.
Score to expect: the authors publish no mIoU for the encoder alone, and we have not run it in full.
Run: python tools/train.py configs/erfnet_cityscapes_paper_encoder.py
"""

_base_ = [
    '_base_/models/erfnet_paper.py',
    '_base_/datasets/cityscapes_half.py',
    '_base_/class_weights/cityscapes_paper_encoder.py',
    '_base_/schedules/paper_150e.py',
    '_base_/default_runtime.py',
]
class_weight = list(_base_.class_weights.values())
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(encoder_only=True),
    decode_head=dict(
        _delete_=True,
        type='mmseg_erfnet.FCNHead',
        in_channels=128,
        in_index=-1,
        channels=128,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0,
        num_classes=19,
        align_corners=False,
        loss_decode=dict(type='mmseg_erfnet.WeightedCrossEntropyLoss', class_weight=class_weight),
    ),
)
# The validation loss uses the class weights of the training loss, so that the two can be compared.
val_evaluator = dict(class_weight=class_weight)
test_evaluator = val_evaluator
# The labels are resized to the size of the logits, not the logits to that of the labels.
train_pipeline = [
    *_base_.train_pipeline[:-1],
    dict(type='mmseg_erfnet.ReduceLabels', factor=8),
    dict(type='mmseg_erfnet.PackSegInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(interval=5, max_keep_ckpts=3, save_best='mIoU', rule='greater'),
)
