# 1 / ln(1.20 + p), where p is a class's share of the labelled pixels of Cityscapes' training set at 1/8 of half
# resolution, as published by the authors for the encoder (https://github.com/Eromera/erfnet_pytorch).
class_weights = dict(
    road=2.3653597831726,
    sidewalk=4.4237880706787,
    building=2.9691488742828,
    wall=5.3442072868347,
    fence=5.2983593940735,
    pole=5.2275490760803,
    traffic_light=5.4394111633301,
    traffic_sign=5.3659925460815,
    vegetation=3.4170460700989,
    terrain=5.2414722442627,
    sky=4.7376127243042,
    person=5.2286224365234,
    rider=5.455126285553,
    car=4.3019247055054,
    truck=5.4264230728149,
    bus=5.4331531524658,
    train=5.433765411377,
    motorcycle=5.4631009101868,
    bicycle=5.3947434425354,
)
