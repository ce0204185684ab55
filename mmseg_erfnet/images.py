"""Read image files, and report any problem with one in a sentence that names the file.

Decoders differ in what they accept: a truncated JPEG is decoded half grey, and 16-bit pictures silently become 8-bit.
So the bytes are checked before they are decoded. The format is detected from the content, not from the file name, and
only the formats listed here are decoded. Needs NumPy and OpenCV.
"""

import os
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike

import cv2
import numpy as np

from mmseg_erfnet.errors import DataError
from mmseg_erfnet.files import png_chunk, shown

# Suffixes of image files.
IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp', '.ppm')
FORMATS = 'PNG, JPEG, BMP, TIFF, WebP or PPM'
# Files with more pixels are refused by their header: 8192x8192. Prediction takes about 60 bytes per pixel (4000x4000:
# 1 GB); a backend may have a lower limit of its own.
MAX_PIXELS = 1 << 26
MAX_BYTES = 1 << 29  # per file; an uncompressed image of 8192x8192 has 0.2 GB
REPLACE = 'put the original file in its place'

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
# Colour types of IHDR with the bit depths allowed for each: https://www.w3.org/TR/png-3/#11IHDR
PNG_KINDS = {0: 'grey', 2: 'RGB', 3: 'indexed', 4: 'grey with alpha', 6: 'RGBA'}
PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Start and step of the seven passes of an interlaced PNG, x before y: https://www.w3.org/TR/png-3/#8Interlace
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
JPEG_KINDS = {1: 'grey', 3: 'RGB', 4: 'CMYK'}
MAX_KNOWN = 1 << 17  # maximum number of checked contents to remember
# A marker other than stuffed zeros and restart markers in the compressed data.
JPEG_MARKER = re.compile(rb'\xff+([^\x00\xff\xd0-\xd7])')
JPEG_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
JPEG_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
JPEG_START, JPEG_END, JPEG_SCAN, JPEG_APP1 = 0xD8, 0xD9, 0xDA, 0xE1
TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
TIFF_KINDS = {0: 'grey from white to black', 1: 'grey', 2: 'RGB', 3: 'indexed', 5: 'CMYK', 6: 'RGB'}
ORIENTATION = 274  # tag of TIFF and EXIF


@dataclass(frozen=True)
class ImageHeader:
    """The header of an image file.

    Attributes:
        height: Height of the upright picture as OpenCV decodes it, after applying the orientation.
        width: Its width, likewise.
        kind: `grey`, `RGB`, `indexed`, `RGBA`, `grey with alpha`, `CMYK`.
        bits: Bits per channel.
        format: `PNG`, `JPEG`, `BMP`, `TIFF`, `WebP`, `PPM`.
        orientation: EXIF orientation, 1 to 8; 1 is upright.
    """

    height: int
    width: int
    kind: str
    bits: int
    format: str = 'PNG'
    orientation: int = 1

    def __str__(self) -> str:
        return f'{self.width}x{self.height}, {self.kind}, {self.bits} bits per channel'


_whole: set[tuple[int, int]] = set()


class _Damaged(Exception):
    """A file's content is damaged; the message is a phrase that follows the file's name."""


# --- Files ------------------------------------------------------------------------------------------------------------


def read_image_file(path: str | PathLike) -> bytes:
    """Read a file that should be an image.

    Raises:
        DataError: It is missing, cannot be read, is not a regular file (reading a pipe would block forever) or is too
            large.
    """
    try:
        with open(path, 'rb', opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise DataError(f'{shown(path)} is not a regular file; give an image file.')
            if status.st_size > MAX_BYTES:
                raise DataError(
                    f'{shown(path)} has {status.st_size} bytes, more than the limit of {MAX_BYTES}; shrink the image.'
                )
            return file.read()
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        reason = getattr(error, 'strerror', None) or error
        raise DataError(f'{shown(path)} cannot be read ({reason}); restore it, or leave it out.') from error


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, 'O_NONBLOCK', 0))


# --- Headers ----------------------------------------------------------------------------------------------------------


def read_header(data: bytes, path: str | PathLike) -> ImageHeader:
    """Read the header of an image file, and check from its structure that the file is complete.

    Nothing is decoded.

    Raises:
        DataError: The file is empty, not in a listed format, truncated, damaged, or larger than `MAX_PIXELS`.
    """
    if not data:
        raise DataError(f'{shown(path)} is empty (0 bytes); {REPLACE}.')
    try:
        name = image_format(data)
        if name is None:
            raise DataError(f'{shown(path)} cannot be read as an image (it is not {FORMATS}); {REPLACE}.')
        header = READERS[name](data)
        if not (header.height > 0 and header.width > 0):
            raise _Damaged(f'is damaged (its size is {header.width}x{header.height})')
        if header.height * header.width > MAX_PIXELS:
            raise DataError(
                f'{shown(path)} has {header.width}x{header.height} pixels, more than the limit of {MAX_PIXELS}; '
                'shrink it, or cut it into tiles.'
            )
    except _Damaged as error:
        text = str(error) if name == 'PNG' else f'cannot be read as an image (it {error})'
        raise DataError(f'{shown(path)} {text}; {REPLACE}.') from error
    except (struct.error, LookupError, ValueError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f'{shown(path)} cannot be read as an image (it is truncated or damaged); {REPLACE}.') from error
    return header


def image_format(data: bytes) -> str | None:
    """Return the format of a file according to its first bytes, or None if it is not a listed format."""
    if data.startswith(PNG_SIGNATURE):
        return 'PNG'
    if data.startswith(b'\xff\xd8'):
        return 'JPEG'
    if data.startswith(b'BM'):
        return 'BMP'
    if data.startswith((b'II*\0', b'MM\0*')):
        return 'TIFF'
    if data.startswith(b'RIFF') and data[8:12] == b'WEBP':
        return 'WebP'
    return 'PPM' if re.match(rb'P[1-6]\s', data) else None


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    view, start = memoryview(data), len(PNG_SIGNATURE)
    while start + 12 <= len(data):
        length, name = struct.unpack_from('>I4s', data, start)
        end = start + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(view[start + 4 : end]) != struct.unpack_from('>I', data, end)[0]:
            raise _Damaged(f'is damaged (wrong checksum at byte {start})')
        yield name, view[start + 8 : end]
        if name == b'IEND':
            return
        start = end + 4
    raise _Damaged(f'is truncated at {len(data)} bytes')


def _png(data: bytes) -> ImageHeader:
    chunks = list(_png_chunks(data))
    if chunks[0][0] != b'IHDR' or len(chunks[0][1]) != 13:
        raise _Damaged('is damaged (it does not begin with its header)')
    width, height, bits, colour, compression, filtering, interlace = struct.unpack('>IIBBBBB', chunks[0][1])
    if bits not in PNG_DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise _Damaged('is damaged (its header is not a PNG header)')
    if colour == 3 and not any(
        name == b'PLTE' and 0 < len(body) <= 768 and len(body) % 3 == 0 for name, body in chunks
    ):
        raise _Damaged('is damaged (its palette is missing)')
    exif = next((bytes(body) for name, body in chunks if name == b'eXIf'), b'')
    return _turned(height, width, PNG_KINDS[colour], bits, 'PNG', _exif_orientation(exif))


def _check_png_pixels(data: bytes, path: str | PathLike) -> None:
    """Check that a PNG's compressed data are complete and contain as many pixels as its header states.

    libpng reports errors only on standard error, and some versions of OpenCV fill in the missing pixels.
    """
    fault = _png_fault(data)
    if fault:
        raise DataError(f'{shown(path)} is damaged ({fault}); {REPLACE}.')


def _png_fault(data: bytes) -> str | None:
    width, height, bits, colour, *_, interlace = struct.unpack_from('>IIBBBBB', data, 16)
    passes = ADAM7 if interlace else ((0, 0, 1, 1),)
    sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes]
    rows = [
        (1 + -(-columns * bits * PNG_CHANNELS[colour] // 8), lines)
        for columns, lines in sizes
        if columns > 0 and lines > 0
    ]
    expected = sum(length * lines for length, lines in rows)
    decompressor = zlib.decompressobj()
    try:
        body = b''.join(body for name, body in _png_chunks(data) if name == b'IDAT')
        pixels = decompressor.decompress(body, expected + 1)
    except zlib.error:
        return 'its compression is wrong'
    if len(pixels) < expected or (len(pixels) == expected and not _at_end(decompressor)):
        return f'{len(pixels)} of {expected} bytes of pixels are there'
    if len(pixels) > expected:
        return 'it holds more pixels than its header says'
    start, filters = 0, np.frombuffer(pixels, np.uint8)
    for length, lines in rows:
        if filters[start : start + length * lines : length].max() > 4:
            return 'a row of pixels has no filter of PNG'
        start += length * lines
    return None


def _at_end(decompressor: 'zlib._Decompress') -> bool:
    """Return whether a stream ends here with the right checksum."""
    try:
        rest = decompressor.decompress(decompressor.unconsumed_tail, 1)
    except zlib.error:
        return False
    return not rest and decompressor.eof


def _jpeg(data: bytes) -> ImageHeader:
    frame, orientation, precision, progressive = None, 1, {}, False
    for marker, body in _jpeg_segments(data):
        if marker in JPEG_FRAMES and frame is None:
            bits, height, width, channels = struct.unpack_from('>BHHB', body)
            frame = height, width, JPEG_KINDS.get(channels, f'{channels} channels'), bits
            progressive = marker in JPEG_PROGRESSIVE
            precision = {body[6 + 3 * index]: [1 << 8] * 64 for index in range(channels)}
        elif marker == JPEG_APP1 and body[:6] == b'Exif\0\0':
            orientation = _exif_orientation(bytes(body[6:]))
        elif marker == JPEG_SCAN:
            _note_scan(body, precision)
    if frame is None:
        raise _Damaged('is damaged (it has no header)')
    # A baseline scan contains its channels completely; progressive scans add the last bits of coefficients at the end.
    missing = any(any(bits) if progressive else bits[0] == 1 << 8 for bits in precision.values())
    if missing:
        raise _Damaged(f'is truncated at {len(data)} bytes')
    return _turned(*frame, 'JPEG', orientation)


def _note_scan(body: memoryview, precision: dict[int, list[int]]) -> None:
    """Record down to which bit a scan refines the coefficients of its channels."""
    channels = body[0]
    first, last, bits = body[1 + 2 * channels], body[2 + 2 * channels], body[3 + 2 * channels] & 15
    for index in range(channels):
        known = precision.get(body[1 + 2 * index])
        if known is not None:
            known[first : last + 1] = [bits] * len(known[first : last + 1])


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """Yield the segments of a JPEG up to its end marker, each with its own marker."""
    view, place = memoryview(data), 0
    while match := JPEG_MARKER.search(data, place):
        marker, place = match[1][0], match.end()
        if marker == JPEG_END:
            return
        if marker in (JPEG_START, 0x01):
            continue
        (length,) = struct.unpack_from('>H', data, place)
        if place + length > len(data):
            break
        yield marker, view[place + 2 : place + length]
        place += length
    raise _Damaged(f'is truncated at {len(data)} bytes')


def _bmp(data: bytes) -> ImageHeader:
    (start,) = struct.unpack_from('<I', data, 10)
    width, height, _, bits, compression = struct.unpack_from('<iiHHI', data, 18)
    if bits not in (1, 4, 8, 16, 24, 32):
        raise _Damaged('is damaged (its header is not a BMP header)')
    if compression in (0, 3) and start + (abs(width) * bits + 31) // 32 * 4 * abs(height) > len(data):
        raise _Damaged(f'is truncated at {len(data)} bytes')
    return ImageHeader(abs(height), width, 'indexed' if bits <= 8 else 'RGB', min(bits, 8), 'BMP')


def _tiff(data: bytes) -> ImageHeader:
    tags = _tiff_tags(data)
    width, height = tags[256][0], tags[257][0]
    bits = max(tags.get(258, (1,)))
    alpha = 338 in tags and tags.get(277, (1,))[0] > 1
    kind = TIFF_KINDS.get(tags.get(262, (None,))[0], 'of an unknown colour space')
    kind = {'grey': 'grey with alpha', 'RGB': 'RGBA'}.get(kind, kind) if alpha else kind
    for starts, lengths in ((273, 279), (324, 325)):
        for start, length in zip(tags.get(starts, ()), tags.get(lengths, ()), strict=False):
            if start + length > len(data):
                raise _Damaged(f'is truncated at {len(data)} bytes')
    # Values that are not unsigned integers are decoded wrongly.
    if any(value != 1 for value in tags.get(339, ())):
        bits = max(bits, 16)
    return _turned(height, width, kind, bits, 'TIFF', tags.get(ORIENTATION, (1,))[0])


def _tiff_tags(data: bytes) -> dict[int, tuple[int, ...]]:
    """Return the integers in the first directory of a TIFF, by tag."""
    order = '<' if data.startswith(b'II') else '>'
    (folder,) = struct.unpack_from(f'{order}I', data, 4)
    (number,) = struct.unpack_from(f'{order}H', data, folder)
    tags: dict[int, tuple[int, ...]] = {}
    for index in range(number):
        entry = folder + 2 + 12 * index
        tag, kind, count = struct.unpack_from(f'{order}HHI', data, entry)
        letter = {1: 'B', 3: 'H', 4: 'I'}.get(kind)
        if letter is None or count * TIFF_SIZES[kind] > len(data):
            continue
        place = entry + 8
        if count * TIFF_SIZES[kind] > 4:
            (place,) = struct.unpack_from(f'{order}I', data, place)
        if count:
            tags[tag] = struct.unpack_from(f'{order}{count}{letter}', data, place)
    return tags


def _webp(data: bytes) -> ImageHeader:
    (length,) = struct.unpack_from('<I', data, 4)
    if length + 8 > len(data):
        raise _Damaged(f'is truncated at {len(data)} bytes')
    place, size, alpha, orientation = 12, None, False, 1
    while place + 8 <= length + 8:
        name, count = struct.unpack_from('<4sI', data, place)
        body = data[place + 8 : place + 8 + count]
        if name == b'VP8X':
            size = tuple(1 + int.from_bytes(body[at : at + 3], 'little') for at in (4, 7))
            alpha = bool(body[0] & 16)
        elif name == b'VP8 ' and size is None:
            size = tuple(value & 0x3FFF for value in struct.unpack_from('<HH', body, 6))
        elif name == b'VP8L' and size is None:
            (packed,) = struct.unpack_from('<I', body, 1)
            size, alpha = (1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)), bool(packed >> 28 & 1)
        elif name == b'EXIF':
            orientation = _exif_orientation(body.removeprefix(b'Exif\0\0'))
        place += 8 + count + count % 2
    if size is None:
        raise _Damaged('is damaged (it has no picture)')
    return _turned(size[1], size[0], 'RGBA' if alpha else 'RGB', 8, 'WebP', orientation)


def _ppm(data: bytes) -> ImageHeader:
    kind = data[1] - ord('0')
    fields, place = [], 2
    while len(fields) < (2 if kind in (1, 4) else 3):
        match = re.compile(rb'(?:\s+|#[^\n]*\n)*(\d{1,9})').match(data, place)
        if not match:
            raise _Damaged('is damaged (its header is not a PPM header)')
        fields.append(int(match[1]))
        place = match.end()
    width, height, *rest = fields
    # If the maximum value is below 255, decoding rescales the values.
    bits = max(rest[0] if rest else 1, 1).bit_length() if not rest or rest[0] < 255 else 8 if rest[0] == 255 else 16
    sample = 2 if bits == 16 else 1
    row = {4: -(-width // 8), 5: width * sample, 6: 3 * width * sample}.get(kind, 0)
    if place + 1 + row * height > len(data):
        raise _Damaged(f'is truncated at {len(data)} bytes')
    return ImageHeader(height, width, 'RGB' if kind in (3, 6) else 'grey', bits, 'PPM')


READERS = {'PNG': _png, 'JPEG': _jpeg, 'BMP': _bmp, 'TIFF': _tiff, 'WebP': _webp, 'PPM': _ppm}


def _exif_orientation(data: bytes) -> int:
    """Return the orientation from an EXIF block; 1 if it has none or is damaged, as in OpenCV."""
    if not data.startswith((b'II*\0', b'MM\0*')):
        return 1
    try:
        return _tiff_tags(data).get(ORIENTATION, (1,))[0]
    except struct.error:
        return 1


def _turned(height: int, width: int, kind: str, bits: int, name: str, orientation: int) -> ImageHeader:
    orientation = orientation if 1 <= orientation <= 8 else 1
    if orientation > 4:
        height, width = width, height
    return ImageHeader(height, width, kind, bits, name, orientation)


# --- Checks and decoding ----------------------------------------------------------------------------------------------


def check_image(data: bytes, path: str | PathLike) -> ImageHeader:
    """Check that a file is a complete image.

    A PNG is decompressed (15 ms for 720x960), other formats are decoded at an eighth of their size (2 ms). Each content
    is checked only once; it is recognised by its checksum (1 ms).

    Args:
        data: The file's content.
        path: The file's name, for the error message.

    Returns:
        The file's header.

    Raises:
        DataError: The file is empty, not an image in a listed format, too large, truncated or damaged.
    """
    header = read_header(data, path)
    content = len(data), zlib.crc32(data)
    if content in _whole:
        return header
    if header.format == 'PNG':
        _check_png_pixels(data, path)
    else:
        small = _decode(data, path, cv2.IMREAD_REDUCED_COLOR_8)
        if header.format == 'JPEG':
            _check_jpeg_end(data, path, small, cv2.IMREAD_REDUCED_COLOR_8)
    if len(_whole) < MAX_KNOWN:
        _whole.add(content)
    return header


def check_frame(data: bytes, path: str | PathLike) -> ImageHeader:
    """Check that a file is a complete colour image with 8 bits per channel, as the models require.

    Raises:
        DataError: As for `check_image`, or the image is grey, has an alpha channel or 16 bits, or has an EXIF rotation
            that may or may not apply to its label.
    """
    header = check_image(data, path)
    if header.kind not in ('RGB', 'indexed') or header.bits > 8:
        raise DataError(f'{shown(path)} is not an 8-bit RGB image ({header}); convert it to 8-bit RGB.')
    # For other orientations, the sizes of frame and label show whether the label is turned, unless the frame is square.
    if 2 <= header.orientation <= 4 or (header.orientation > 4 and header.height == header.width):
        raise DataError(
            f'{shown(path)} is stored turned (EXIF orientation {header.orientation}), and its size does not show '
            'whether its label is too; save both upright, without EXIF.'
        )
    return header


def decode_frame(data: bytes, path: str | PathLike) -> np.ndarray:
    """Decode a picture for prediction: upright, grey as three equal channels, without alpha channel.

    Returns:
        BGR, uint8 of shape (H, W, 3).

    Raises:
        DataError: As for `check_image`, or a channel has more than 8 bits (it is unknown which bits are used), or the
            colours are CMYK.
    """
    header = read_header(data, path)
    if header.bits > 8 or header.kind not in ('RGB', 'indexed', 'grey', 'RGBA', 'grey with alpha'):
        raise DataError(f'{shown(path)} is not an 8-bit grey or RGB image ({header}); convert it to 8-bit RGB.')
    frame = _decode(data, path, cv2.IMREAD_COLOR)
    if header.format == 'JPEG':
        _check_jpeg_end(data, path, frame, cv2.IMREAD_COLOR)
    if frame.shape != (header.height, header.width, 3):
        raise DataError(f'{shown(path)} is damaged (its header says {header.width}x{header.height}); {REPLACE}.')
    return frame


def decode_rgb_labels(data: bytes, path: str | PathLike) -> np.ndarray:
    """Decode colour-coded labels.

    Returns:
        uint8 of shape (H, W, 3), in OpenCV's channel order, BGR.

    Raises:
        DataError: As for `check_image`, or the file does not contain 8-bit colours, or its compression is lossy.
    """
    header = check_image(data, path)
    if header.kind not in ('RGB', 'indexed') or header.bits > 8:
        raise DataError(
            f'{shown(path)} is not an 8-bit RGB label image ({header}); convert it to 8-bit RGB without alpha, '
            'or, if its values are class indices, load it with `palette=None`.'
        )
    _check_exact(header, path)
    return _decode(data, path, cv2.IMREAD_COLOR)


def decode_index_labels(data: bytes, path: str | PathLike) -> np.ndarray:
    """Decode labels whose pixel values are class ids.

    Returns:
        uint8 of shape (H, W).

    Raises:
        DataError: As for `check_image`, or the file is not a single-channel image with up to 8 bits, or is indexed but
            not a PNG, or its compression is lossy.
    """
    header = check_image(data, path)
    if header.kind not in ('grey', 'indexed') or header.bits > 8:
        raise DataError(
            f'{shown(path)} is not an 8-bit image of class indices ({header}); convert it to one channel of 8 bits, '
            'or, if it is painted in colours, load it with their `palette`.'
        )
    _check_exact(header, path)
    if header.format == 'PNG':
        values = _decode(_without_palette(data), path, cv2.IMREAD_UNCHANGED)
        # Decoders scale values of 1, 2 and 4 bits to the 8-bit range.
        return values // (255 // ((1 << header.bits) - 1))
    if header.kind == 'indexed' or header.bits < 8:
        raise DataError(f'{shown(path)} is an indexed {header.format}; convert it to PNG with the same indices.')
    return _decode(data, path, cv2.IMREAD_UNCHANGED)


def _check_exact(header: ImageHeader, path: str | PathLike) -> None:
    if header.format in ('JPEG', 'WebP'):
        raise DataError(
            f'{shown(path)} is a {header.format}, whose compression changes the values of labels; '
            'save the labels as PNG from their source.'
        )


def _without_palette(data: bytes) -> bytes:
    """Return an indexed PNG as a grey PNG of the same depth, whose values are the indices; others unchanged."""
    if data[25] != 3:
        return data
    parts = [PNG_SIGNATURE]
    for name, body in _png_chunks(data):
        if name in (b'PLTE', b'tRNS', b'bKGD', b'hIST', b'sBIT'):
            continue
        parts.append(png_chunk(name, body[:9].tobytes() + b'\0' + body[10:].tobytes() if name == b'IHDR' else body))
    return b''.join(parts)


def encode_png(picture: np.ndarray) -> bytes:
    """Encode a picture or a label map as PNG.

    Args:
        picture: uint8 (H, W, 3), BGR, or (H, W).

    Raises:
        DataError: OpenCV cannot encode it.
    """
    try:
        done, data = cv2.imencode('.png', picture)
    except cv2.error:
        done = False
    if not done:
        raise DataError(
            f'A picture of {picture.shape[1]}x{picture.shape[0]} cannot be written as PNG; shrink the image.'
        )
    return data.tobytes()


def _decode(data: bytes, path: str | PathLike, flags: int) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    except MemoryError as error:
        raise DataError(f'{shown(path)} does not fit into memory; shrink it, or cut it into tiles.') from error
    if image is None or not image.size:
        if image_format(data) == 'PNG':
            _check_png_pixels(data, path)
        raise DataError(f'{shown(path)} is damaged and cannot be decoded; {REPLACE}.')
    return image


def _check_jpeg_end(data: bytes, path: str | PathLike, image: np.ndarray, flags: int) -> None:
    """Refuse a JPEG whose compressed data are incomplete although an end marker follows.

    libjpeg fills missing parts with middle grey. If a corner has exactly this grey, a few bytes are inserted before the
    end marker: they change the decoded picture only if data are missing.
    """
    corners = image[:: max(1, image.shape[0] - 1), :: max(1, image.shape[1] - 1)].reshape(-1, 3)
    if not (corners == 128).all(1).any():
        return
    end = data.rfind(b'\xff\xd9')
    longer = data[:end] + bytes(range(1, 200, 3)) * 4 + data[end:]
    if not np.array_equal(_decode(longer, path, flags), image):
        raise DataError(f'{shown(path)} cannot be read as an image (it is truncated at {len(data)} bytes); {REPLACE}.')
