# 1 / ln(1.10 + p), where p is a class's share of the labelled pixels of the 367 training frames at 360x480: ENet's
# weighting (https://arxiv.org/abs/1606.02147, 5.2), computed with `class_weights(pixels, c=1.10)` of
# mmseg_erfnet.datasets.statistics.
class_weights = dict(
    Sky=4.111152,
    Building=3.398228,
    Pole=9.562954,
    Road=2.798049,
    Pavement=7.304908,
    Tree=5.453974,
    SignSymbol=9.402865,
    Fence=9.441220,
    Car=6.696114,
    Pedestrian=9.867575,
    Bicyclist=10.197123,
)
