"""The check of image files, including files that decoders accept by mistake or fail on."""

import io
import os
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.images import BROKEN, FORMATS, encoded, png
from PIL import Image

from mmseg_erfnet import images
from mmseg_erfnet.datasets.camvid import PALETTE
from mmseg_erfnet.datasets.labels import colour_table, look_up
from mmseg_erfnet.errors import DataError, UserError
from mmseg_erfnet.files import png_chunk
from mmseg_erfnet.images import (
    check_frame,
    check_image,
    decode_frame,
    decode_index_labels,
    decode_rgb_labels,
    read_header,
    read_image_file,
)


@pytest.fixture(scope='module')
def picture() -> np.ndarray:
    """A smooth RGB picture, 40x60, without middle grey in its corners."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (15, 15), 4) // 2 + 100


@pytest.mark.parametrize('name', FORMATS)
def test_headers_of_all_formats(picture, name):
    header = check_frame(encoded(picture, name), 'x.png')
    assert (header.height, header.width, header.kind, header.bits, header.format) == (40, 60, 'RGB', 8, name)
    frame = decode_frame(encoded(picture, name), 'x')
    np.testing.assert_allclose(frame[..., ::-1], picture, atol=20 if name == 'JPEG' else 0)


@pytest.mark.parametrize(
    ('mode', 'kind', 'bits'),
    [('L', 'grey', 8), ('P', 'indexed', 8), ('RGBA', 'RGBA', 8), ('LA', 'grey with alpha', 8), ('I;16', 'grey', 16)],
)
def test_kinds_of_png(picture, mode, kind, bits):
    image = Image.fromarray(picture).convert('L' if mode == 'I;16' else mode).convert(mode)
    stream = io.BytesIO()
    image.save(stream, 'PNG')
    header = check_image(stream.getvalue(), 'x.png')
    assert (header.kind, header.bits) == (kind, bits)


@pytest.mark.parametrize('name', ['JPEG', 'PNG', 'WebP', 'TIFF'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_the_size_is_that_of_the_upright_picture(picture, name, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    data = encoded(picture, name, exif=exif)
    header = check_image(data, 'x')
    assert header.orientation == orientation
    frame = decode_frame(data, 'x')
    assert frame.shape[:2] == (header.height, header.width) == ((60, 40) if orientation > 4 else (40, 60))


def test_frames_whose_label_may_be_turned_or_not(picture):
    for orientation, refused in ((1, False), (2, True), (3, True), (4, True), (6, False), (8, False)):
        exif = Image.Exif()
        exif[274] = orientation
        data = encoded(picture, 'JPEG', exif=exif)
        if refused:
            with pytest.raises(DataError, match=rf'turned \(EXIF orientation {orientation}\).*save both upright'):
                check_frame(data, 'x.jpg')
        else:
            check_frame(data, 'x.jpg')
    exif[274] = 6
    with pytest.raises(DataError, match='EXIF orientation 6'):
        check_frame(encoded(picture[:, :40], 'JPEG', exif=exif), 'square.jpg')


def test_twelve_bits_in_sixteen_are_refused_and_not_black(picture):
    data = cv2.imencode('.png', picture.astype(np.uint16) * 16)[1].tobytes()
    for check in (check_frame, decode_frame):
        with pytest.raises(DataError, match=r'x\.png is not an 8-bit .*60x40, RGB, 16 bits.*convert it to 8-bit RGB'):
            check(data, 'x.png')


def test_grey_and_transparent_photos_can_be_predicted(picture):
    grey = decode_frame(encoded(picture[..., 0]), 'x.png')
    np.testing.assert_array_equal(grey, picture[..., :1].repeat(3, 2))
    alpha = np.dstack([picture, np.full((40, 60), 255, np.uint8)])
    np.testing.assert_array_equal(decode_frame(encoded(alpha), 'x.png'), picture[..., ::-1])


# In a progressive JPEG, the last scan refines the existing picture.
@pytest.mark.parametrize(
    ('share', 'progressive'), [(0.3, False), (0.5, False), (0.9, False), (0.1, True), (0.3, True), (0.5, True)]
)
def test_half_a_jpeg_with_an_end_mark(share, progressive):
    noise = np.random.default_rng(0).integers(0, 256, (200, 304, 3), dtype=np.uint8)
    data = encoded(cv2.GaussianBlur(noise, (9, 9), 3), 'JPEG', progressive=progressive)
    check_frame(data, 'x.jpg')
    half = data[: int(len(data) * share)] + b'\xff\xd9'
    for check in (check_frame, decode_frame):
        with pytest.raises(
            DataError, match=r'x\.jpg cannot be read as an image \(it is truncated at \d+ bytes\); put the original'
        ):
            check(half, 'x.jpg')


def test_a_jpeg_that_is_grey_is_whole(picture):
    for progressive in (False, True):
        data = encoded(np.full((40, 64, 3), 128, np.uint8), 'JPEG', progressive=progressive)
        assert (decode_frame(data, 'x.jpg') == 128).all()
        check_frame(data, 'x.jpg')


@pytest.mark.parametrize('kind', BROKEN)
@pytest.mark.parametrize('check', [check_image, check_frame, decode_frame, decode_rgb_labels, decode_index_labels])
def test_what_no_decoder_reads_is_said_by_the_check(kind, check):
    if check is decode_frame and kind == 'too many pixels':
        # Surplus pixels do not harm a picture.
        assert decode_frame(BROKEN[kind], 'x.png').shape == (24, 32, 3)
        return
    with pytest.raises(DataError, match=r'^/data/x\.png (is|has|cannot be read) .*(put the original|convert it)'):
        check(BROKEN[kind], '/data/x.png')


def test_an_eps_named_png_starts_no_program(tmp_path, monkeypatch):
    """Pillow would start Ghostscript."""
    program = tmp_path / 'gs'
    program.write_text(f'#!/bin/sh\ntouch {tmp_path}/started\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    stream = io.BytesIO()
    Image.new('RGB', (8, 8)).save(stream, 'EPS')
    with pytest.raises(DataError, match=r'x\.png cannot be read as an image \(it is not PNG, JPEG'):
        check_image(stream.getvalue(), 'x.png')
    assert not (tmp_path / 'started').exists()


def test_needs_numpy_and_opencv_alone():
    blocked = ('PIL', 'torch', 'matplotlib', 'mmcv')
    code = f'import sys; sys.modules.update(dict.fromkeys({blocked})); import mmseg_erfnet.images'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False).stderr == ''


def test_large_pictures_are_refused_by_their_header():
    huge = png(b'x', width=12000, height=12000)
    with pytest.raises(DataError, match=r'has 12000x12000 pixels, more than the limit of 67108864; shrink it, or cut'):
        decode_frame(huge, 'x.png')


def test_files_that_are_none(tmp_path):
    os.mkfifo(tmp_path / 'pipe.png')
    with pytest.raises(DataError, match=r'pipe\.png is not a regular file'):
        read_image_file(tmp_path / 'pipe.png')
    with pytest.raises(DataError, match='is not a regular file'):
        read_image_file('/dev/zero')
    with pytest.raises(DataError, match=r'absent\.png cannot be read \(No such file'):
        read_image_file(tmp_path / 'absent.png')
    with pytest.raises(DataError, match=r'cannot be read \(File name too long\)'):
        read_image_file(tmp_path / ('x' * 300))
    name = os.fsdecode(bytes(tmp_path) + b'/caf\xe9.png')
    Path(name).write_bytes(b'junk')
    with pytest.raises(DataError, match=r'caf\\xe9\.png cannot be read as an image'):
        decode_frame(read_image_file(name), name)


# --- Labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('bits', [1, 2, 4, 8])
@pytest.mark.parametrize('mode', ['P', 'L'])
def test_indices_of_every_depth(bits, mode):
    ids = np.random.default_rng(bits).integers(0, 1 << bits, (23, 37)).astype(np.uint8)
    rows = []
    for row in ids:
        unpacked = np.unpackbits(row[:, None], axis=1)[:, -bits:].ravel()
        rows.append(b'\0' + np.packbits(unpacked).tobytes())
    colours = np.random.default_rng(9).integers(0, 256, (1 << bits, 3)).astype(np.uint8)
    palette = png_chunk(b'PLTE', colours.tobytes()) + png_chunk(b'tRNS', b'\0')
    data = png(zlib.compress(b''.join(rows)), 37, 23, bits, 3 if mode == 'P' else 0, palette if mode == 'P' else b'')
    np.testing.assert_array_equal(decode_index_labels(data, 'x.png'), ids)
    if mode == 'P':
        np.testing.assert_array_equal(decode_rgb_labels(data, 'x.png')[..., ::-1], colours[ids])


def test_interlaced_labels(picture):
    ids = np.random.default_rng(0).integers(0, 200, (13, 9)).astype(np.uint8)
    # Each pass has its own rows, as an encoder writes them.
    rows = b''
    for x, y, dx, dy in images.ADAM7:
        part = ids[y::dy, x::dx]
        rows += b''.join(b'\0' + row.tobytes() for row in part) if part.shape[1] else b''
    header = png_chunk(b'IHDR', struct.pack('>IIBBBBB', 9, 13, 8, 0, 0, 0, 1))
    data = images.PNG_SIGNATURE + header + png_chunk(b'IDAT', zlib.compress(rows)) + png_chunk(b'IEND', b'')
    np.testing.assert_array_equal(decode_index_labels(data, 'x.png'), ids)


@pytest.mark.parametrize('name', ['JPEG', 'WebP'])
def test_labels_in_formats_that_change_values(picture, name):
    with pytest.raises(DataError, match=rf'is a {name}, whose compression changes the values'):
        decode_rgb_labels(encoded(picture, name), 'x.png')


def test_labels_in_other_formats(picture):
    ids = picture[..., 0]
    for name in ('TIFF', 'PPM'):
        np.testing.assert_array_equal(decode_index_labels(encoded(ids, name), 'x'), ids)
    for name in ('BMP', 'TIFF', 'PPM'):
        np.testing.assert_array_equal(decode_rgb_labels(encoded(picture, name), 'x'), picture[..., ::-1])
    indexed = io.BytesIO()
    Image.fromarray(ids).convert('P').save(indexed, 'TIFF')
    with pytest.raises(DataError, match='is an indexed TIFF; convert it to PNG'):
        decode_index_labels(indexed.getvalue(), 'x.tif')


# --- Fuzz -------------------------------------------------------------------------------------------------------------


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Return a file with bytes changed, cut or doubled, or header values replaced; PNG checksums are recomputed."""
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        place = chance.randrange(max(1, min(len(found), chance.choice((40, 200, len(found))))))
        action = chance.randrange(5)
        if action == 0 and found:
            found[min(place, len(found) - 1)] = chance.randrange(256)
        elif action == 1:
            found[place : place + 4] = chance.choice(
                (b'\0\0\0\0', b'\xff\xff\xff\xff', b'\x7f\xff\xff\xff', b'\0\0\0\1')
            )
        elif action == 2:
            del found[place : place + chance.randrange(1, 40)]
        elif action == 3:
            found[place:place] = found[place : place + chance.randrange(1, 40)]
        else:
            found = found[: max(1, place)]
    if found.startswith(images.PNG_SIGNATURE) and chance.random() < 0.8:
        found = bytearray(with_right_checksums(bytes(found)))
    return bytes(found)


def with_right_checksums(data: bytes) -> bytes:
    parts, start = [images.PNG_SIGNATURE], 8
    while start + 12 <= len(data):
        length, name = struct.unpack_from('>I4s', data, start)
        parts.append(png_chunk(name, data[start + 8 : start + 8 + length]))
        start += 12 + length
    return b''.join(parts)


def test_fuzz_of_header_check_and_label_readers(picture):
    """Any file content raises only the project's own errors, in bounded time."""
    ids = (picture[..., 0] % 12).astype(np.uint8)
    palette = Image.fromarray(ids).convert('P')
    stream = io.BytesIO()
    palette.save(stream, 'PNG', bits=4)
    exif = Image.Exif()
    exif[274] = 6
    seeds = [encoded(picture, name) for name in FORMATS] + [
        encoded(ids),
        stream.getvalue(),
        encoded(picture, 'JPEG', exif=exif, progressive=True),
        encoded(np.array(PALETTE, np.uint8)[ids]),
    ]
    chance, accepted, sentences = random.Random(0), 0, set()
    table = colour_table(tuple(map(tuple, PALETTE)))
    for number in range(4000):
        data = mutated(seeds[number % len(seeds)], chance)
        read = (read_header, decode_index_labels, decode_rgb_labels)[number // len(seeds) % 3]
        try:
            result = read(data, 'x.png')
        except UserError as error:
            sentences.add(str(error))
        else:
            accepted += 1
            if read is decode_rgb_labels:
                assert look_up(result, table).shape == result.shape[:2]
            elif read is decode_index_labels:
                assert result.dtype == np.uint8
                assert result.ndim == 2
    assert 100 < accepted < 3000
    assert all(sentence.endswith('.') and '\n' not in sentence for sentence in sentences)
