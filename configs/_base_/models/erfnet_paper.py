# ERFNet as in its authors' code: RGB / 255 without mean and standard deviation, channel dropout with 0.03 in the
# 64-channel stage and 0.3 in the 128-channel stage, and a 2x2 transposed convolution to the classes.
norm_cfg = dict(type='BN', requires_grad=True)
data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[0.0, 0.0, 0.0],
    std=[255.0, 255.0, 255.0],
    bgr_to_rgb=True,
    pad_val=0,
    seg_pad_val=255,
)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=data_preprocessor,
    pretrained=None,
    backbone=dict(type='mmseg_erfnet.ERFNet', dropout_ratio=(0.03, 0.3), dropout_type='channel', norm_cfg=norm_cfg),
    decode_head=dict(
        type='mmseg_erfnet.ERFNetHead',
        in_channels=16,
        in_index=-1,
        num_classes=19,
        align_corners=False,
        loss_decode=dict(type='mmseg_erfnet.WeightedCrossEntropyLoss', loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
