"""Small exports of synthetic streets, in the layouts of labelling tools and public data sets."""

import base64
import csv
import json
import struct
import tarfile
import zipfile
import zlib
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from mmseg_erfnet.datasets.camvid import COLOURS as CAMVID_COLOURS
from mmseg_erfnet.datasets.camvid import GROUPS
from mmseg_erfnet.datasets.synthetic import render

CLASSES = ('background', 'road', 'building', 'sky', 'car')
COLOURS = ((0, 0, 0), (128, 64, 128), (70, 70, 70), (70, 130, 180), (0, 0, 142))
SIZE = (48, 64)
SPLITS = {'train': range(6), 'val': range(6, 8), 'test': range(8, 10)}


def scene(index: int, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Return a frame, BGR, and its class ids."""
    frame, ids = _scene(index, size)
    return frame.copy(), ids.copy()


@cache
def _scene(index: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    frame, painted = render(size, 7, index)
    ids = np.zeros(size, np.uint8)
    for number, group in enumerate(('Road', 'Building', 'Sky', 'Car'), 1):
        for member in GROUPS[group]:
            ids[(painted == CAMVID_COLOURS[member][::-1]).all(2)] = number
    return frame, ids


def name_of(index: int) -> str:
    return f'street_{index:04}'


def painted(ids: np.ndarray) -> np.ndarray:
    """Return class ids painted in the classes' colours, BGR."""
    return np.array(COLOURS, np.uint8)[ids][..., ::-1]


def put(path: Path, data: bytes | str | np.ndarray) -> Path:
    """Write a file; an array is written as an image in the format given by the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(data, np.ndarray):
        data = cv2.imencode(path.suffix, data)[1].tobytes()
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def palette_png(ids: np.ndarray, colours=COLOURS) -> bytes:
    """Return a PNG of indices with a palette."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))

    height, width = ids.shape
    rows = np.column_stack([np.zeros(height, np.uint8), ids]).tobytes()
    return b''.join(
        [
            b'\x89PNG\r\n\x1a\n',
            chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 3, 0, 0, 0)),
            chunk(b'PLTE', np.array(colours, np.uint8).tobytes()),
            chunk(b'IDAT', zlib.compress(rows)),
            chunk(b'IEND', b''),
        ]
    )


def exif_jpeg(image: np.ndarray, orientation: int) -> bytes:
    """Return a JPEG with an EXIF orientation."""
    data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    tiff = b'MM\0*' + struct.pack('>IH', 8, 1) + struct.pack('>HHIHH', 0x0112, 3, 1, orientation, 0) + bytes(4)
    segment = b'Exif\0\0' + tiff
    return data[:2] + b'\xff\xe1' + struct.pack('>H', len(segment) + 2) + segment + data[2:]


def exif_png(image: np.ndarray, orientation: int) -> bytes:
    """Return a PNG with an EXIF orientation."""
    data = cv2.imencode('.png', image)[1].tobytes()
    tiff = b'II*\0' + struct.pack('<IH', 8, 1) + struct.pack('<HHIHH', 0x0112, 3, 1, orientation, 0) + bytes(4)
    chunk = struct.pack('>I', len(tiff)) + b'eXIf' + tiff + struct.pack('>I', zlib.crc32(b'eXIf' + tiff))
    return data[:33] + chunk + data[33:]


# Labelling tools


def cvat_masks(root: Path, size: tuple[int, int] = SIZE, images: bool = True, number: int = 10) -> Path:
    """CVAT, "Segmentation mask 1.1"."""
    names = [name_of(index) for index in range(number)]
    lines = [f'{name}:{",".join(map(str, colour))}::' for name, colour in zip(CLASSES, COLOURS, strict=True)]
    put(root / 'labelmap.txt', '# label:color_rgb:parts:actions\n' + '\n'.join(lines) + '\n')
    put(root / 'ImageSets/Segmentation/default.txt', '\n'.join(names) + '\n')
    for index, name in enumerate(names):
        frame, ids = scene(index, size)
        if images:
            put(root / f'JPEGImages/{name}.png', frame)
        put(root / f'SegmentationClass/{name}.png', painted(ids))
        put(root / f'SegmentationObject/{name}.png', painted(ids)[..., ::-1])
    return root


def cvat_camvid(root: Path, size: tuple[int, int] = SIZE) -> Path:
    """CVAT, "CamVid 1.0"."""
    lines = [f'{red} {green} {blue} {name}' for name, (red, green, blue) in zip(CLASSES, COLOURS, strict=True)]
    put(root / 'label_colors.txt', '\n'.join(lines) + '\n')
    listed = []
    for index in range(10):
        frame, ids = scene(index, size)
        put(root / f'default/{name_of(index)}.png', frame)
        put(root / f'defaultannot/{name_of(index)}.png', painted(ids))
        listed.append(f'/default/{name_of(index)}.png /defaultannot/{name_of(index)}.png')
    put(root / 'default.txt', '\n'.join(listed) + '\n')
    return root


def labelme2voc(root: Path) -> Path:
    """Pascal VOC as written by labelme2voc.py."""
    put(root / 'class_names.txt', '\n'.join(('_background_', *CLASSES[1:])))
    for index in range(10):
        frame, ids = scene(index)
        ids[0, 0] = 255
        put(root / f'JPEGImages/{name_of(index)}.jpg', frame)
        put(root / f'SegmentationClass/{name_of(index)}.png', palette_png(ids, [*COLOURS, *[(9, 9, 9)] * 251]))
        put(root / f'SegmentationClassVisualization/{name_of(index)}.jpg', frame // 2)
        put(root / f'SegmentationClassNpy/{name_of(index)}.npy', b'\x93NUMPY')
    return root


def labelme_json(root: Path, embedded: bool = False) -> Path:
    """labelme's own JSON: a polygon around each area."""
    for index in range(10):
        frame, ids = scene(index)
        data = cv2.imencode('.jpg', frame)[1].tobytes()
        shapes = []
        for number, name in enumerate(CLASSES[1:], 1):
            contours, _ = cv2.findContours((ids == number).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            shapes += [
                dict(
                    label=name,
                    points=contour[:, 0].astype(float).tolist(),
                    shape_type='polygon',
                    flags={},
                    group_id=None,
                )
                for contour in contours
                if len(contour) > 2
            ]
        annotation = dict(
            version='5.4.1',
            flags={},
            shapes=shapes,
            imagePath=f'{name_of(index)}.jpg',
            imageData=base64.b64encode(data).decode() if embedded else None,
            imageHeight=frame.shape[0],
            imageWidth=frame.shape[1],
        )
        put(root / f'{name_of(index)}.json', json.dumps(annotation))
        if not embedded:
            put(root / f'{name_of(index)}.jpg', data)
    return root


def roboflow(root: Path, size: tuple[int, int] = SIZE) -> Path:
    """Roboflow, "Semantic Segmentation Masks"."""
    put(root / 'README.roboflow.txt', 'exported\n')
    for split, indices in SPLITS.items():
        folder = root / {'val': 'valid'}.get(split, split)
        rows = ''.join(f'{number}, {name}\n' for number, name in enumerate(CLASSES))
        put(folder / '_classes.csv', f'Pixel Value, Class\n{rows}')
        for index in indices:
            frame, ids = scene(index, size)
            name = f'{name_of(index)}_jpg.rf.{index:032x}'
            put(folder / f'{name}.jpg', frame)
            put(folder / f'{name}_mask.png', ids)
    return root


def kaggle(root: Path) -> Path:
    """Folders with a class_dict.csv."""
    with put(root / 'class_dict.csv', '').open('w', newline='') as file:
        csv.writer(file).writerows([('name', 'r', 'g', 'b'), *((n, *c) for n, c in zip(CLASSES, COLOURS, strict=True))])
    for split, indices in SPLITS.items():
        for index in indices:
            frame, ids = scene(index)
            put(root / f'{split}/{name_of(index)}.png', frame)
            put(root / f'{split}_labels/{name_of(index)}_L.png', painted(ids))
    return root


def fastai(root: Path) -> Path:
    """fast.ai's camvid: indices, codes.txt, and a list of the validation frames."""
    put(root / 'codes.txt', '\n'.join(CLASSES) + '\n')
    put(root / 'valid.txt', ''.join(f'{name_of(index)}.png\n' for index in (*SPLITS['val'], *SPLITS['test'])))
    for index in range(10):
        frame, ids = scene(index)
        put(root / f'images/{name_of(index)}.png', frame)
        put(root / f'labels/{name_of(index)}_P.png', ids)
    return root


def plain(root: Path, kind: str = 'indices', number: int = 10) -> Path:
    """images/ and masks/: `indices`, `palette`, `colours`, or `binary` with 255 for road."""
    for index in range(number):
        frame, ids = scene(index)
        mask = {
            'indices': lambda ids=ids: ids,
            'palette': lambda ids=ids: palette_png(ids),
            'colours': lambda ids=ids: painted(ids),
            'binary': lambda ids=ids: np.where(ids == 1, 255, 0).astype(np.uint8),
        }[kind]()
        put(root / f'images/{name_of(index)}.jpg', frame)
        put(root / f'masks/{name_of(index)}.png', mask)
    return root


EXPORTS = {
    'cvat_masks': cvat_masks,
    'cvat_camvid': cvat_camvid,
    'labelme2voc': labelme2voc,
    'labelme_json': labelme_json,
    'roboflow': roboflow,
    'kaggle': kaggle,
    'fastai': fastai,
    'indices': lambda root: plain(root, 'indices'),
    'palette': lambda root: plain(root, 'palette'),
    'colours': lambda root: plain(root, 'colours'),
}


def zipped(folder: Path, archive: Path, windows: bool = False) -> Path:
    """Write an archive of a folder's contents, optionally with backslashes, as some Windows tools write them."""
    with zipfile.ZipFile(archive, 'w') as opened:
        for path in sorted(folder.rglob('*')):
            if path.is_file():
                info = zipfile.ZipInfo('x')
                name = path.relative_to(folder).as_posix()
                info.filename = name.replace('/', '\\') if windows else name
                opened.writestr(info, path.read_bytes())
    return archive


def tarred(folder: Path, archive: Path) -> Path:
    """Write a tar archive of a folder, including the folder itself."""
    with tarfile.open(archive, 'w:gz') as opened:
        opened.add(folder, arcname=archive.name.partition('.')[0])
    return archive
