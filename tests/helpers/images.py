"""Image files, whole and broken, as bytes."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from mmseg_erfnet.files import png_chunk
from mmseg_erfnet.images import PNG_SIGNATURE

FORMATS = {'PNG': {}, 'JPEG': {'quality': 95}, 'BMP': {}, 'TIFF': {}, 'WebP': {'lossless': True}, 'PPM': {}}


def encoded(picture: np.ndarray, name: str = 'PNG', mode: str | None = None, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture, mode).save(stream, name, **{**FORMATS[name], **options})
    return stream.getvalue()


def png(pixels: bytes, width: int = 32, height: int = 24, bits: int = 8, colour: int = 2, extra: bytes = b'') -> bytes:
    header = struct.pack('>IIBBBBB', width, height, bits, colour, 0, 0, 0)
    body = png_chunk(b'IDAT', pixels) if pixels else b''
    return PNG_SIGNATURE + png_chunk(b'IHDR', header) + extra + body + png_chunk(b'IEND', b'')


WHOLE = zlib.compress((b'\0' + b'\7' * 96) * 24)
BROKEN = {
    'empty': b'',
    'text': b'no image at all',
    'no pixels': png(b''),
    'no compression': png(b'junk'),
    'too few pixels': png(zlib.compress((b'\0' + b'\7' * 96) * 5)),
    'too many pixels': png(zlib.compress((b'\0' + b'\7' * 96) * 25)),
    'cut before compression': png(WHOLE[:-4]),
    'wrong sum of pixels': png(WHOLE[:-1] + b'x'),
    'unknown filter': png(zlib.compress((b'\x09' + b'\7' * 96) * 24)),
    'no palette': png(zlib.compress((b'\0' + b'\7' * 32) * 24), colour=3),
    'depth of none': png(WHOLE, bits=3),
    'colours of none': png(WHOLE, colour=5),
    'no width': png(WHOLE, width=0),
    'no header': PNG_SIGNATURE + png_chunk(b'IDAT', WHOLE) + png_chunk(b'IEND', b''),
    'signature alone': PNG_SIGNATURE,
    'jpeg without picture': b'\xff\xd8\xff\xd9',
    'jpeg cut in its header': b'\xff\xd8\xff\xc0\0\x11\x08\0',
    'bmp cut': b'BM' + bytes(20),
    'tiff without folder': b'II*\0\xff\xff\xff\x7f',
    'tiff without size': b'II*\0\x08\0\0\0\0\0',
    'webp without picture': b'RIFF\4\0\0\0WEBP',
    'ppm without size': b'P6\nx',
    'ppm cut': b'P6\n10 10\n255\nabc',
    'postscript': b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n',
    'gif': b'GIF89a' + bytes(40),
    'photoshop': b'8BPS\0\1' + bytes(60),
    'icon': b'\0\0\1\0\1\0\x10\x10' + bytes(60),
}
