"""ERFNet on CamVid in SegNet's protocol (360x480, 11 classes), fine-tuned from MMSegmentation's Cityscapes weights.

What: the second stage of `erfnet_camvid11.py` from all weights of MMSegmentation's published ERFNet but the classifier
    (19 classes there, 11 here). Networks of this kind gain 5 to 6 points by pretraining on Cityscapes.
Costs: as `erfnet_camvid11.py`, and a download of 8 MB.
Score to expect: no mIoU yet, it was not run; the loading is tested with random weights of that form.
Run: python tools/train.py configs/erfnet_camvid11_from_cityscapes.py --amp
     with a file: --cfg-options load_from=FILE
"""

_base_ = 'erfnet_camvid11.py'
load_from = (
    'https://mmassets.onedl.ai/mmsegmentation/v0.5/erfnet/erfnet_fcn_4x4_512x1024_160k_cityscapes/'
    'erfnet_fcn_4x4_512x1024_160k_cityscapes_20220704_162145-dc90157a.pth'
)
