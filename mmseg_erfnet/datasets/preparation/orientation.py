"""EXIF orientation: which way up a picture is, according to the camera.

Decoders differ in whether they apply it, especially to labels. So it is read here, removed from the file, and applied
to the pixels where that is correct.
"""

import struct

import numpy as np

from mmseg_erfnet.images import PNG_SIGNATURE

UPRIGHT = 1
ORIENTATION_TAG = 0x0112
KINDS = {1: 'B', 3: 'H', 4: 'I'}  # TIFF's BYTE, SHORT, which EXIF demands, and LONG


def take_orientation(data: bytes) -> tuple[int, bytes]:
    """Return the EXIF orientation of a JPEG, PNG, WebP or TIFF file, 1 to 8, and the file without it.

    1 is upright; it is also returned if a file has no orientation or an invalid one.
    """
    if data.startswith(PNG_SIGNATURE):
        return _in_png(data)
    place = _place(data)
    if place is None:
        return UPRIGHT, data
    form, start = place
    (value,) = struct.unpack_from(form, data, start)
    if not 1 < value <= 8:
        return UPRIGHT, data
    return value, data[:start] + struct.pack(form, UPRIGHT) + data[start + struct.calcsize(form) :]


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return the pixels, turned upright from an EXIF orientation.

    The values of EXIF's tag 0x0112 (CIPA DC-008, 4.6.4) give the sides on which the first row and the first column
    are seen.
    """
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    vertical = orientation in (3, 4, 7, 8)
    horizontal = orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(pixels[:: -1 if vertical else 1, :: -1 if horizontal else 1])


def _in_png(data: bytes) -> tuple[int, bytes]:
    start = len(PNG_SIGNATURE)
    while start + 12 <= len(data):
        length, name = struct.unpack_from('>I4s', data, start)
        end = start + 12 + length
        if name == b'eXIf' and end <= len(data):
            place = _in_tiff(data, start + 8, end - 4)
            value = struct.unpack_from(place[0], data, place[1])[0] if place else UPRIGHT
            return (value if 1 <= value <= 8 else UPRIGHT), data[:start] + data[end:]
        if name == b'IEND':
            break
        start = end
    return UPRIGHT, data


def _place(data: bytes) -> tuple[str, int] | None:
    """Format, for `struct`, and position of the value in a file other than PNG."""
    if data[:2] == b'\xff\xd8':
        start = 2
        while start + 4 <= len(data) and data[start] == 0xFF and data[start + 1] != 0xDA:
            if data[start + 1] == 0xFF:  # any number of them may precede a marker
                start += 1
                continue
            (length,) = struct.unpack_from('>H', data, start + 2)
            if data[start + 1] == 0xE1 and data[start + 4 : start + 10] == b'Exif\0\0':
                return _in_tiff(data, start + 10, min(start + 2 + length, len(data)))
            start += 2 + length
    elif data[:4] == b'RIFF' and data[8:12] == b'WEBP':
        start = 12
        while start + 8 <= len(data):
            name, length = struct.unpack_from('<4sI', data, start)
            if name == b'EXIF':
                body = start + 8
                body += 6 if data[body : body + 6] == b'Exif\0\0' else 0
                return _in_tiff(data, body, min(start + 8 + length, len(data)))
            start += 8 + length + length % 2
    elif data[:4] in (b'II*\0', b'MM\0*'):
        return _in_tiff(data, 0, len(data))
    return None


def _in_tiff(data: bytes, start: int, end: int) -> tuple[str, int] | None:
    order = {b'II': '<', b'MM': '>'}.get(data[start : start + 2])
    if order is None or start + 8 > end:
        return None
    at = start + struct.unpack_from(f'{order}I', data, start + 4)[0]
    if at + 2 > end:
        return None
    (count,) = struct.unpack_from(f'{order}H', data, at)
    for entry in range(at + 2, min(at + 2 + 12 * count, end - 11), 12):
        tag, kind = struct.unpack_from(f'{order}HH', data, entry)
        if tag == ORIENTATION_TAG and kind in KINDS:
            return f'{order}{KINDS[kind]}', entry + 8
    return None
