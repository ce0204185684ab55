"""labelme's JSON: each kind of shape drawn where it is, and files that are not as they should be."""

import base64
import json
import random

import cv2
import numpy as np
import pytest
from helpers.exports import put, scene
from helpers.fuzz import mutated

from mmseg_erfnet.datasets.preparation import labelme, prepare_dataset
from mmseg_erfnet.datasets.preparation.sources import PurePosixPath, SourceFile
from mmseg_erfnet.errors import DataError, UserError

IDS = {'_background_': 0, 'car': 1, '__ignore__': 255}


def shape(kind: str, points: list, label: str = 'car', **more) -> dict:
    return dict(shape_type=kind, points=points, label=label, **more)


def drawn(*shapes: dict) -> np.ndarray:
    return labelme.draw(dict(shapes=list(shapes)), (20, 30), IDS, 'x.json')


def test_shapes():
    box = np.zeros((20, 30), np.uint8)
    box[4:11, 6:16] = 1
    np.testing.assert_array_equal(drawn(shape('polygon', [[6, 4], [15, 4], [15, 10], [6, 10]])), box)
    np.testing.assert_array_equal(drawn(shape('rectangle', [[15, 10], [6, 4]])), box)
    mask = base64.b64encode(cv2.imencode('.png', np.full((7, 10), 255, np.uint8))[1]).decode()
    np.testing.assert_array_equal(drawn(shape('mask', [[6, 4], [15, 10]], mask=mask)), box)
    circle = drawn(shape('circle', [[10, 10], [10, 14]]))
    assert (circle[10, 6], circle[10, 14], circle[10, 16], circle[5, 10]) == (1, 1, 0, 0)
    assert drawn(shape('linestrip', [[0, 10], [29, 10]]))[10].all()
    assert drawn(shape('point', [[10, 10]]))[10, 10] == 1


def test_later_shapes_lie_on_top():
    found = drawn(shape('rectangle', [[0, 0], [29, 19]]), shape('rectangle', [[5, 5], [9, 9]], '__ignore__'))
    assert (found[0, 0], found[7, 7]) == (1, 255)


@pytest.mark.parametrize(
    ('wrong', 'said'),
    [
        (shape('polygon', [[0, 0], [1, 1]]), r'shape 1 \(car\) has 2 points, too few for a polygon'),
        (shape('cuboid', [[0, 0]] * 8), r'shape 1 \(car\) is a cuboid, which is not supported'),
        (shape('polygon', [[0, 0]] * 3, 'sea'), "shape 1 has the label 'sea', which is not a class"),
        (shape('mask', [[0, 0], [3, 3]], mask='!'), 'has a mask that cannot be decoded'),
    ],
)
def test_shapes_that_cannot_be_drawn(wrong, said):
    with pytest.raises(DataError, match=said):
        drawn(wrong)


def test_a_frame_elsewhere(tmp_path):
    """imagePath is relative to the JSON file, and may come from Windows."""
    for index in range(4):
        put(tmp_path / f'source/photos/{index}.jpg', scene(index)[0])
        found = dict(
            shapes=[shape('rectangle', [[0, 0], [9, 9]])], imagePath=f'..\\photos\\{index}.jpg', imageData=None
        )
        put(tmp_path / f'source/json/{index}.json', json.dumps(found))
    assert prepare_dataset(tmp_path / 'source', tmp_path / 'out').frames == 4


def test_fuzz():
    """Mutated files: an annotation that can be drawn, or an error of the project's own."""
    chance = random.Random(3)
    seed = json.dumps(
        dict(
            shapes=[shape('polygon', [[1, 2], [9.5, 2], [5, 9]]), shape('circle', [[5, 5], [7, 7]])],
            imagePath='a.jpg',
            imageData='AAAA',
            imageHeight=20,
            imageWidth=30,
        )
    ).encode()
    for _ in range(1500):
        data = mutated(seed, chance)
        file = SourceFile('x.json', PurePosixPath('x.json'), lambda data=data: data)
        try:
            found = labelme.parse(file)
            labelme.size_of(found, 'x.json')
            labelme.frame_of(file, found, {})
            labelme.draw(found, (20, 30), dict.fromkeys(labelme.names_of(found), 1) | IDS, 'x.json')
        except UserError:
            continue
