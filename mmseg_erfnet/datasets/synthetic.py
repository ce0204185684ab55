"""A small synthetic CamVid: street-like scenes with the folders, file name suffixes and 32 colours of the real one.

It serves to try everything without the download, and for tests. Scores on it are meaningless for real streets. The
names begin with `synthetic_`, unlike those of CamVid.

The scene is a flat street in perspective. Positions on the ground are given by `across`, 0 in the middle of the road
and 1 at the foot of the houses, and by `near`, 0 at the horizon and 1 at the lower edge of the image. `near` is also
the scale of objects at that position. Sizes are fractions of the image height at `near` = 1.
"""

import itertools
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from mmseg_erfnet.datasets.camvid import COLOURS, FRAMES, LABELS
from mmseg_erfnet.datasets.preparation.writing import Layout, target
from mmseg_erfnet.errors import DataError, UsageError
from mmseg_erfnet.images import encode_png

ROAD_EDGE = 0.62
SPLIT_SHARES = {'train': 0.6, 'val': 0.2, 'test': 0.2}


def synthesize_camvid(out: str | Path, images: int = 60, size: tuple[int, int] = (360, 480), seed: int = 0) -> Path:
    """Write a synthetic CamVid. The same arguments give the same images.

    Args:
        out: The folder to create; it must be missing or empty.
        images: Number of frames: three fifths in train, a fifth each in val and test.
        size: Height and width of the frames in pixels.
        seed: Another seed gives other scenes.

    Returns:
        `out`.

    Raises:
        UsageError: Fewer than 5 frames, a size below 32, or a seed out of range; or another process is doing the same.
        DataError: `out` is not empty.
        StorageError: It cannot be written; nothing is left there.
    """
    if images < 5:
        raise UsageError(f'{images} frames cannot be split in three; ask for 5 or more.')
    check_scene(size, seed)
    out = Path(out).resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f'{out} exists already; remove it or choose another folder.')
    names = [f'synthetic_{index:05d}' for index in range(images)]
    held_out = {split: max(1, round(images * SPLIT_SHARES[split])) for split in ('val', 'test')}
    first_val, first_test = images - sum(held_out.values()), images - held_out['test']
    with target(out, Layout(FRAMES, LABELS, '_L.png')) as made:
        made.begin(names)
        for index, name in enumerate(names):
            frame, labels = render(size, seed, index)
            made.put(made.layout.frame(name, '.png'), encode_png(frame), name)
            made.put(made.layout.label(name), encode_png(labels), name)
        made.put_splits(
            {
                'train': names[:first_val],
                'val': names[first_val:first_test],
                'test': names[first_test:],
                'trainval': names[:first_test],
            }
        )
    return out


def check_scene(size: tuple[int, int], seed: int) -> None:
    """Check that a scene of a size can be drawn with a seed.

    Raises:
        UsageError: It cannot.
    """
    if min(size) < 32:
        raise UsageError(f'a scene needs at least 32 pixels per side, not {size[0]}x{size[1]}.')
    if not 0 <= seed < 1 << 32:
        raise UsageError(f'a seed is a number from 0 to {(1 << 32) - 1}, not {seed}.')


def render(size: tuple[int, int], seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene.

    Args:
        size: Height and width in pixels.
        seed: The seed of the data set.
        index: The number of the frame in the data set.

    Returns:
        The frame and its labels, both uint8 of shape (H, W, 3), BGR, labels in CamVid's colours.
    """
    # RandomState, not a Generator: its stream never changes between numpy versions.
    return Scene(size, np.random.RandomState([seed, index])).draw()


class Scene:
    """One street scene, drawn with a random generator."""

    def __init__(self, size: tuple[int, int], random: np.random.RandomState) -> None:
        self.height, self.width = size
        self.random = random
        self.frame = np.zeros((*size, 3), np.uint8)
        self.labels = np.zeros((*size, 3), np.uint8)
        self.horizon = random.uniform(0.4, 0.5)
        self.vanishing = random.uniform(0.42, 0.58)
        self.daylight = random.uniform(0.65, 1.1)

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        self.sky()
        self.skyline()
        self.ground()
        for side in (-1, 1):
            self.houses(side)
        if self.chance(0.15):
            self.overpass()
        things = [(thing, near) for thing, number in self.choose_things() for near in self.depths(number)]
        for thing, near in sorted(things, key=lambda pair: pair[1]):
            thing(near)
        self.bonnet()
        return self.develop(), self.labels

    # Drawing: everything is drawn twice, in a tint and in its class's colour, without anti-aliasing.

    def chance(self, probability: float) -> bool:
        return self.random.random_sample() < probability

    def tint(self, *colour: int, spread: int = 18) -> tuple[int, ...]:
        """The RGB colour as BGR, varied at random and scaled by the daylight."""
        varied = (
            np.array(colour)
            + self.random.randint(-spread, spread + 1)
            + self.random.randint(-spread // 3, spread // 3 + 1, 3)
        ) * self.daylight
        return tuple(np.clip(varied, 0, 255).astype(int).tolist()[::-1])

    def polygon(self, points: list[tuple[float, float]], tint: tuple[int, ...], name: str) -> None:
        corners = np.round(np.array(points) * (self.width, self.height)).astype(np.int32)
        cv2.fillPoly(self.frame, [corners], tint)
        cv2.fillPoly(self.labels, [corners], COLOURS[name][::-1])

    def box(self, x: float, y: float, width: float, height: float, tint: tuple[int, ...], name: str) -> None:
        """Draw a rectangle; x is its middle, y its lower edge; width and height are fractions of the image height."""
        half = width / 2 * self.height / self.width
        self.polygon([(x - half, y - height), (x + half, y - height), (x + half, y), (x - half, y)], tint, name)

    def ellipse(self, x: float, y: float, width: float, height: float, tint: tuple[int, ...], name: str) -> None:
        """Draw an ellipse centred at (x, y); width and height are fractions of the image height."""
        centre = round(x * self.width), round(y * self.height)
        axes = max(1, round(width / 2 * self.height)), max(1, round(height / 2 * self.height))
        cv2.ellipse(self.frame, centre, axes, 0, 0, 360, tint, -1)
        cv2.ellipse(self.labels, centre, axes, 0, 0, 360, COLOURS[name][::-1], -1)

    def place(self, across: float, near: float) -> tuple[float, float]:
        return self.vanishing + across * 0.75 * near, self.horizon + near * (1 - self.horizon)

    def strip(self, left: float, right: float, far: float, near: float, tint: tuple[int, ...], name: str) -> None:
        corners = [(left, far), (right, far), (right, near), (left, near)]
        self.polygon([self.place(*corner) for corner in corners], tint, name)

    # Background

    def sky(self) -> None:
        top, bottom = (np.array(self.tint(*colour)) for colour in ((120, 160, 215), (205, 220, 235)))
        share = np.linspace(0, 1 / self.horizon, self.height)[:, None, None]
        self.frame[:] = np.clip(top + (bottom - top) * share, 0, 255).astype(np.uint8)
        self.labels[:] = COLOURS['Sky'][::-1]
        for _ in range(self.random.randint(0, 4)):
            x, y = self.random.uniform(0, (1, self.horizon * 0.8))
            self.ellipse(x, y, *self.random.uniform((0.1, 0.03), (0.5, 0.08)), self.tint(235, 238, 240), 'Sky')

    def skyline(self) -> None:
        for x in np.arange(0, 1.1, 0.07):
            height = self.random.uniform(0.02, 0.08)
            if self.chance(0.6):
                self.ellipse(x, self.horizon, 0.14, 2 * height, self.tint(60, 90, 45), 'Tree')
            else:
                self.box(x, self.horizon, 0.1, height, self.tint(140, 115, 100), 'Building')

    def houses(self, side: int) -> None:
        edges = np.cumsum(np.r_[0.06, self.random.uniform(0.1, 0.3, 10)])
        for far, near in itertools.pairwise(edges):
            self.house(side, far, near)

    def house(self, side: int, far: float, near: float) -> None:
        """Draw a building, wall, fence or hedge along one side of the street, from depth `far` to depth `near`."""
        kind = self.random.choice(['Building'] * 7 + ['Wall', 'Fence', 'Tree', 'VegetationMisc'])
        height = {'Wall': 0.25, 'Fence': 0.2, 'VegetationMisc': 0.16, 'Tree': 0.6}.get(
            kind, self.random.uniform(0.55, 1.1)
        )
        tint = self.tint(
            *{
                'Wall': (165, 150, 130),
                'Fence': (95, 80, 65),
                'VegetationMisc': (95, 125, 50),
                'Tree': (50, 85, 35),
            }.get(kind, (150, 105, 85)),
            spread=30,
        )
        foot = [self.place(side * 1.02, far), self.place(side * 1.02, near)]
        roof = [(x, y - height * depth) for (x, y), depth in zip(foot, (far, near), strict=True)]
        self.polygon([foot[0], foot[1], roof[1], roof[0]], tint, kind)
        if kind == 'Building':
            self.windows(foot, roof)
            if self.chance(0.12):
                self.opening(foot, roof)
        elif kind == 'Fence':
            self.slats(foot, roof)

    def on_wall(self, foot: list, roof: list, along: float, up: float) -> tuple[float, float]:
        bottom, top = (np.array(edge[0]) * (1 - along) + np.array(edge[1]) * along for edge in (foot, roof))
        return tuple(bottom * (1 - up) + top * up)

    def on_wall_box(
        self,
        foot: list,
        roof: list,
        along: tuple[float, float],
        up: tuple[float, float],
        tint: tuple[int, ...],
        name: str,
    ) -> None:
        corners = [(along[0], up[0]), (along[1], up[0]), (along[1], up[1]), (along[0], up[1])]
        self.polygon([self.on_wall(foot, roof, *corner) for corner in corners], tint, name)

    def windows(self, foot: list, roof: list) -> None:
        tint = self.tint(60, 70, 85)
        for along in (0.15, 0.45, 0.75):
            for up in (0.2, 0.45, 0.7):
                self.on_wall_box(foot, roof, (along, along + 0.14), (up, up + 0.13), tint, 'Building')

    def opening(self, foot: list, roof: list) -> None:
        self.on_wall_box(foot, roof, (0.25, 0.75), (0, 0.4), self.tint(70, 50, 40), 'Archway')

    def slats(self, foot: list, roof: list) -> None:
        for along in np.arange(0.05, 1, 0.15):
            self.on_wall_box(foot, roof, (along, along + 0.06), (0, 1), self.tint(135, 115, 90), 'Fence')

    def ground(self) -> None:
        self.strip(-9, 9, 0, 1.05, self.tint(150, 145, 140), 'Sidewalk')
        if self.chance(0.3):
            side = self.random.choice([-1, 1])
            self.strip(side * ROAD_EDGE, side * 0.72, 0, 1.05, self.tint(115, 100, 80), 'RoadShoulder')
        if self.chance(0.3):
            side = self.random.choice([-1, 1])
            self.strip(side * 0.68, side * 0.85, 0.1, 0.5, self.tint(125, 110, 135), 'ParkingBlock')
        self.strip(-ROAD_EDGE, ROAD_EDGE, 0, 1.05, self.tint(85, 85, 90), 'Road')
        paint = self.tint(235, 235, 225, spread=8)
        for edge in (-0.56, 0.54):
            self.strip(edge, edge + 0.025, 0.03, 1.05, paint, 'LaneMkgsDriv')
        start = self.random.uniform(0.02, 0.05)
        while start < 1:
            self.strip(-0.015, 0.015, start, start * 1.35, paint, 'LaneMkgsDriv')
            start *= 1.8
        if self.chance(0.25):
            far = self.random.uniform(0.15, 0.6)
            for left in np.arange(-0.5, 0.5, 0.16):
                self.strip(left, left + 0.08, far, far * 1.3, paint, 'LaneMkgsNonDriv')

    def overpass(self) -> None:
        near = self.random.uniform(0.1, 0.25)
        left, right = self.place(-1.1, near), self.place(1.1, near)
        top, deck = (self.horizon - share * near for share in (0.75, 0.3))
        if self.chance(0.3):
            mouth = [self.place(-ROAD_EDGE, near), self.place(ROAD_EDGE, near)]
            self.polygon([*mouth, (mouth[1][0], deck), (mouth[0][0], deck)], self.tint(40, 40, 45), 'Tunnel')
        self.polygon(
            [(left[0], top), (right[0], top), (right[0], deck), (left[0], deck)], self.tint(125, 130, 120), 'Bridge'
        )

    def bonnet(self) -> None:
        if self.chance(0.5):
            self.ellipse(0.5, 1.02, 1.2, self.random.uniform(0.06, 0.14), self.tint(30, 30, 35), 'Void')

    # Objects: each method draws one at the depth `near`

    def choose_things(self) -> list[tuple[Callable[[float], None], int]]:
        count, chance = self.random.randint, self.chance
        return [
            (self.car, count(1, 5)),
            (self.suv, chance(0.4)),
            (self.truck, chance(0.3)),
            (self.train, chance(0.08)),
            (self.trailer, chance(0.15)),
            (self.tree, count(0, 4)),
            (self.bush, count(0, 3)),
            (self.pole, count(2, 6)),
            (self.pedestrian, count(1, 5)),
            (self.child, chance(0.3)),
            (self.pram, chance(0.2)),
            (self.dog, chance(0.2)),
            (self.cyclist, chance(0.6)),
            (self.motorcyclist, chance(0.2)),
            (self.cone, 3 * chance(0.15)),
            (self.billboard, chance(0.3)),
        ]

    def depths(self, number: int) -> np.ndarray:
        return self.random.uniform(0.12, 0.8, int(number))

    def on_road(self, near: float) -> tuple[float, float]:
        return self.place(self.random.choice([-1, 1]) * self.random.uniform(0.15, 0.5), near)

    def on_sidewalk(self, near: float) -> tuple[float, float]:
        return self.place(self.random.choice([-1, 1]) * self.random.uniform(0.7, 0.95), near)

    def vehicle(self, near: float, name: str, width: float, height: float, cabin: float, *colour: int) -> None:
        x, y = self.on_road(near)
        width, height = width * near, height * near
        body = self.tint(*colour, spread=25)
        for side in (-0.35, 0.35):
            self.box(x + side * width * self.height / self.width, y, width * 0.2, height * 0.2, (20, 20, 20), name)
        self.box(x, y - height * 0.1, width, height * 0.9 * (1 - cabin), body, name)
        self.box(x, y - height * (1 - cabin) * 0.95, width * 0.8, height * cabin, body, name)
        self.box(x, y - height * (1 - cabin), width * 0.7, height * cabin * 0.6, self.tint(50, 60, 75), name)
        for side in (-0.4, 0.4):
            self.box(
                x + side * width * self.height / self.width,
                y - height * 0.3,
                width * 0.12,
                height * 0.1,
                self.tint(200, 30, 25),
                name,
            )

    def car(self, near: float) -> None:
        colour = [(170, 25, 30), (25, 45, 130), (185, 190, 195)][self.random.randint(3)]
        self.vehicle(near, 'Car', 0.4, 0.28, 0.4, *colour)

    def suv(self, near: float) -> None:
        self.vehicle(near, 'SUVPickupTruck', 0.44, 0.38, 0.35, 25, 85, 75)

    def truck(self, near: float) -> None:
        self.vehicle(near, 'Truck_Bus', 0.5, 0.75, 0.3, 200, 150, 20)

    def train(self, near: float) -> None:
        self.vehicle(near, 'Train', 0.5, 0.65, 0.4, 20, 140, 160)

    def trailer(self, near: float) -> None:
        self.vehicle(near, 'OtherMoving', 0.45, 0.3, 0.1, 130, 60, 120)

    def tree(self, near: float) -> None:
        x, y = self.on_sidewalk(near)
        self.box(x, y, 0.05 * near, 0.5 * near, self.tint(80, 60, 40), 'Tree')
        for _ in range(7):
            shift = self.random.uniform(-0.15, 0.15, 2) * near
            self.ellipse(
                x + shift[0], y - 0.65 * near + shift[1], 0.28 * near, 0.28 * near, self.tint(45, 90, 35), 'Tree'
            )

    def bush(self, near: float) -> None:
        x, y = self.on_sidewalk(near)
        for shift in (-0.08, 0, 0.08):
            self.ellipse(
                x + shift * near, y - 0.06 * near, 0.16 * near, 0.14 * near, self.tint(105, 135, 50), 'VegetationMisc'
            )

    def pole(self, near: float) -> None:
        x, y = self.on_sidewalk(near)
        height = self.random.uniform(0.5, 0.9) * near
        self.box(x, y, max(0.025 * near, 0.008), height, self.tint(70, 72, 78), 'Column_Pole')
        kind = self.random.randint(4)
        if kind == 0:
            self.ellipse(x, y - height, 0.12 * near, 0.12 * near, self.tint(205, 35, 35), 'SignSymbol')
            self.ellipse(x, y - height, 0.07 * near, 0.07 * near, self.tint(240, 240, 240), 'SignSymbol')
        elif kind == 1:
            self.box(x, y - height * 0.8, 0.06 * near, 0.16 * near, self.tint(25, 28, 25), 'TrafficLight')
            for lamp, colour in enumerate([(40, 200, 80), (230, 170, 20), (230, 30, 30)]):
                self.ellipse(
                    x,
                    y - height * 0.8 - (0.03 + 0.05 * lamp) * near,
                    0.035 * near,
                    0.035 * near,
                    self.tint(*colour),
                    'TrafficLight',
                )

    def billboard(self, near: float) -> None:
        x, y = self.on_sidewalk(near)
        self.box(x, y, 0.02 * near, 0.3 * near, self.tint(70, 72, 78), 'Column_Pole')
        self.box(x, y - 0.25 * near, 0.25 * near, 0.16 * near, self.tint(240, 225, 120), 'Misc_Text')
        for line in (0.29, 0.34):
            self.box(x, y - line * near, 0.19 * near, 0.02 * near, self.tint(30, 30, 90), 'Misc_Text')

    def person(self, x: float, y: float, height: float, name: str, *colour: int) -> None:
        self.box(x, y, height * 0.2, height * 0.5, self.tint(35, 35, 60), name)
        self.box(x, y - height * 0.45, height * 0.28, height * 0.4, self.tint(*colour, spread=30), name)
        self.ellipse(x, y - height * 0.92, height * 0.16, height * 0.18, self.tint(205, 160, 130), name)

    def pedestrian(self, near: float) -> None:
        self.person(*self.on_sidewalk(near), 0.42 * near, 'Pedestrian', 150, 60, 60)

    def child(self, near: float) -> None:
        self.person(*self.on_sidewalk(near), 0.26 * near, 'Child', 235, 200, 40)

    def pram(self, near: float) -> None:
        x, y = self.on_sidewalk(near)
        self.box(x, y - 0.05 * near, 0.16 * near, 0.09 * near, self.tint(70, 30, 110), 'CartLuggagePram')
        for side in (-0.05, 0.05):
            self.ellipse(x + side * near, y - 0.03 * near, 0.05 * near, 0.05 * near, (25, 25, 25), 'CartLuggagePram')

    def dog(self, near: float) -> None:
        x, y = self.on_sidewalk(near)
        self.ellipse(x, y - 0.07 * near, 0.16 * near, 0.08 * near, self.tint(120, 75, 35), 'Animal')
        self.ellipse(x + 0.06 * near, y - 0.11 * near, 0.07 * near, 0.06 * near, self.tint(120, 75, 35), 'Animal')

    def two_wheeler(self, near: float, name: str, wheel: float, *colour: int) -> None:
        x, y = self.on_road(near)
        for side in (-0.09, 0.09):
            self.ellipse(x + side * near, y - wheel / 2 * near, wheel * near, wheel * near, (25, 25, 25), name)
        self.box(x, y - wheel * 0.6 * near, 0.24 * near, 0.05 * near, self.tint(*colour), name)
        self.person(x, y - 0.08 * near, 0.36 * near, name, *colour)

    def cyclist(self, near: float) -> None:
        self.two_wheeler(near, 'Bicyclist', 0.14, 60, 170, 210)

    def motorcyclist(self, near: float) -> None:
        self.two_wheeler(near, 'MotorcycleScooter', 0.1, 200, 40, 150)

    def cone(self, near: float) -> None:
        x, y = self.on_road(near)
        half = 0.05 * near * self.height / self.width
        self.polygon([(x - half, y), (x + half, y), (x, y - 0.16 * near)], self.tint(245, 105, 25), 'TrafficCone')

    # The camera

    def develop(self) -> np.ndarray:
        coarse = self.random.normal(0, 9, (self.height // 8 + 1, self.width // 8 + 1)).astype(np.int16)
        grain = cv2.resize(coarse, (self.width, self.height))
        grain += self.random.randint(-6, 7, (self.height, self.width), np.int8)
        return cv2.add(cv2.GaussianBlur(self.frame, (3, 3), 0), cv2.merge([grain] * 3), dtype=cv2.CV_8U)
