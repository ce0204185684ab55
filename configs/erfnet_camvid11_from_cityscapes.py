"""ERFNet on CamVid in SegNet's protocol (360x480, 11 classes), fine-tuned from MMSegmentation's Cityscapes weights.

What: the schedule of `erfnet_camvid11.py`, starting from MMSegmentation's published ERFNet without its classifier
    (19 classes there, 11 here). Similar networks gain 5 to 6 points from pretraining on Cityscapes.
Costs: as `erfnet_camvid11.py`, plus a download of 8 MB.
Score to expect: no mIoU yet, as it has not been run; a test loads random weights of the same shapes.
Run: python tools/train.py configs/erfnet_camvid11_from_cityscapes.py --amp
     with a file: --cfg-options load_from=FILE
"""

_base_ = 'erfnet_camvid11.py'
load_from = (
    'https://mmassets.onedl.ai/mmsegmentation/v0.5/erfnet/erfnet_fcn_4x4_512x1024_160k_cityscapes/'
    'erfnet_fcn_4x4_512x1024_160k_cityscapes_20220704_162145-dc90157a.pth'
)
