# 1 / ln(1.10 + p), where p is a class's share of the labelled pixels of Cityscapes' training set at half resolution, as
# published by the authors (https://github.com/Eromera/erfnet_pytorch).
class_weights = dict(
    road=2.8149201869965,
    sidewalk=6.9850029945374,
    building=3.7890393733978,
    wall=9.9428062438965,
    fence=9.7702074050903,
    pole=9.5110931396484,
    traffic_light=10.311357498169,
    traffic_sign=10.026463508606,
    vegetation=4.6323022842407,
    terrain=9.5608062744141,
    sky=7.8698215484619,
    person=9.5168733596802,
    rider=10.373730659485,
    car=6.6616044044495,
    truck=10.260489463806,
    bus=10.287888526917,
    train=10.289801597595,
    motorcycle=10.405355453491,
    bicycle=10.138095855713,
)
