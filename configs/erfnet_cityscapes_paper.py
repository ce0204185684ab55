"""The authors' recipe, second half: the whole ERFNet on Cityscapes at half resolution, from the pretrained encoder.

What: 512x1024, Adam, 150 epochs, batch 6, flips and translation by 0 to 2 pixels, class weights, channel dropout,
    RGB / 255, a transposed convolution as the output layer (Romera et al., 2017, IV-A;
    https://github.com/Eromera/erfnet_pytorch).
Costs: 446,000 images of 512x1024. Use a GPU; two CPU cores with AVX-512 and `--amp` would take about 5 days.
Score to expect: the authors report 69 to 70 mIoU on val from scratch, with labels at half resolution
    (https://github.com/Eromera/erfnet_pytorch/issues/1); here labels are scored at their own size. We have not run it
    in full.
Run: python tools/train.py configs/erfnet_cityscapes_paper_encoder.py
     python tools/train.py configs/erfnet_cityscapes_paper.py
     with another encoder: --cfg-options model.backbone.init_cfg.checkpoint=PATH; without: model.backbone.init_cfg=None
"""

_base_ = [
    '_base_/models/erfnet_paper.py',
    '_base_/datasets/cityscapes_half.py',
    '_base_/class_weights/cityscapes_paper.py',
    '_base_/schedules/paper_150e.py',
    '_base_/default_runtime.py',
]
class_weight = list(_base_.class_weights.values())
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/erfnet_cityscapes_paper_encoder/epoch_150.pth', prefix='backbone.'
        )
    ),
    decode_head=dict(loss_decode=dict(class_weight=class_weight)),
)
# The validation loss uses the class weights of the training loss, so that the two can be compared.
val_evaluator = dict(class_weight=class_weight)
test_evaluator = val_evaluator
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(interval=5, max_keep_ckpts=3, save_best='mIoU', rule='greater'),
)
