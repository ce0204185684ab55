"""A synthetic sequence: the street of :mod:`mmseg_erfnet.datasets.synthetic`, seen from a car that drives along it."""

from collections.abc import Iterator

import numpy as np

from mmseg_erfnet.datasets.synthetic import ROAD_EDGE, Scene, check_scene
from mmseg_erfnet.errors import UsageError

NEAREST, FARTHEST = 1.0, 14.0  # range of distances drawn; at distance z, objects have the scale 1 / z
MARKING = 1.2  # distance from one lane marking to the next
HOUSE = 1.6  # length of a house along the street
GAP = 0.35  # distance from one object to the next
# Speed of objects that move along the road, as a fraction of the car's; the others stand still.
SPEEDS = {'car': 0.7, 'suv': 0.6, 'truck': 0.55, 'cyclist': 0.35, 'motorcyclist': 0.6}
THINGS = (
    *('car', 'suv', 'truck', 'cyclist', 'motorcyclist'),
    *('tree', 'tree', 'tree', 'bush', 'pole', 'pole', 'pedestrian', 'pedestrian', 'child', 'dog', 'billboard'),
)


def render_sequence(
    size: tuple[int, int], frames: int, seed: int = 0, speed: float = 0.045
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw the frames of a sequence.

    Args:
        size: Height and width in pixels.
        frames: Number of frames.
        seed: Another seed gives another street.
        speed: Distance per frame; a house is 1.6 long.

    Yields:
        Frames and their labels, both BGR uint8 of shape (H, W, 3), labels in CamVid's colours.

    Raises:
        UsageError: An argument is out of range.
    """
    check_scene(size, seed)
    if frames < 1:
        raise UsageError(f'a sequence has at least 1 frame, not {frames}.')
    for number in range(frames):
        yield _MovingScene(size, seed, number, number * speed).draw()


class _MovingScene(Scene):
    """One frame. Each object has its own random generator, so that it looks the same in every frame."""

    def __init__(self, size: tuple[int, int], seed: int, number: int, position: float) -> None:
        super().__init__(size, np.random.RandomState([seed, 0]))
        self.seed, self.number, self.position = seed, number, position

    def become(self, *key: int) -> None:
        """Continue with the random generator of one object."""
        self.random = np.random.RandomState([self.seed, *key])

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        self.sky()
        self.skyline()
        self.ground()
        for side in (-1, 1):
            self.houses(side)
        for _, index, name, scale in sorted(self.things(), key=lambda thing: thing[3]):
            self.become(3, index)
            getattr(self, name)(scale)
        self.become(4, self.number)
        return self.develop(), self.labels

    def ground(self) -> None:
        self.strip(-9, 9, 0, 1.05, self.tint(150, 145, 140), 'Sidewalk')
        self.strip(-ROAD_EDGE, ROAD_EDGE, 0, 1.05, self.tint(85, 85, 90), 'Road')
        paint = self.tint(235, 235, 225, spread=8)
        for edge in (-0.56, 0.54):
            self.strip(edge, edge + 0.025, 0.03, 1.05, paint, 'LaneMkgsDriv')
        for distance in self.distances(MARKING, MARKING):
            self.strip(-0.015, 0.015, 1 / (distance + MARKING / 2), 1 / distance, paint, 'LaneMkgsDriv')

    def distances(self, step: float, length: float) -> np.ndarray:
        """Distances of the near ends of repeated markings along the street, including those below the image."""
        first = np.ceil((self.position + 0.4 - length) / step)
        ends = np.arange(first, (self.position + FARTHEST) / step) * step - self.position
        return np.maximum(ends, 0.4)

    def houses(self, side: int) -> None:
        first = int(np.floor((self.position + 0.4) / HOUSE))
        last = int((self.position + FARTHEST) / HOUSE)
        for index in range(last, first - 1, -1):
            self.become(1 if side < 0 else 2, index)
            start = index * HOUSE - self.position
            self.house(side, 1 / (start + HOUSE), 1 / max(start, 0.4))

    def things(self) -> Iterator[tuple[float, int, str, float]]:
        """Yield the distance, number, kind and scale of each object in sight."""
        for index in range(int(2 * (self.position + FARTHEST) / GAP)):
            self.become(5, index)
            name = THINGS[self.random.randint(len(THINGS))]
            start = index * GAP + self.random.uniform(0, GAP)
            distance = start - self.position * (1 - SPEEDS.get(name, 0.0))
            if NEAREST * 1.1 < distance < FARTHEST * 0.6:
                yield distance, index, name, 1 / distance
