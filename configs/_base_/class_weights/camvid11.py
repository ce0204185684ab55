# 1 / ln(1.02 + p), p a class's share of the labelled pixels of the 367 training frames at 360x480: ENet's weighting
# (https://arxiv.org/abs/1606.02147, 5.2), by `class_weights(pixels, c=1.02)` of mmseg_erfnet.datasets.statistics.
camvid11_class_weights = dict(
    Sky=5.603480,
    Building=4.295262,
    Pole=33.573597,
    Road=3.335498,
    Pavement=15.485574,
    Tree=8.738716,
    SignSymbol=31.541973,
    Fence=32.012034,
    Car=12.828816,
    Pedestrian=38.014107,
    Bicyclist=43.907386)
