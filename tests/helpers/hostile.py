"""Files that would run code if they were not loaded as data, exhaust the memory, or never finish loading."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import torch


class Call:
    """Its pickle calls an arbitrary function when it is loaded."""

    def __init__(self, function, *args) -> None:
        self.call = function, args

    def __reduce__(self):
        return self.call


def touching(path: Path) -> Call:
    """Its pickle creates a file when it is loaded."""
    return Call(os.system, f'touch {path}')


def saved(checkpoint: object, **options) -> bytes:
    """Return the bytes that torch.save writes."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer, **options)
    return buffer.getvalue()


def with_pickle(data: bytes, pickled: bytes) -> bytes:
    """Return a checkpoint with its ``data.pkl`` replaced."""
    return rezipped(data, lambda name, content: pickled if name.endswith('/data.pkl') else content)


def rezipped(data: bytes, change, **options) -> bytes:
    """Return a checkpoint with members changed by a function of a member's name and content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, 'w', **options) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return buffer.getvalue()


def flipped(data: bytes, content: bytes) -> bytes:
    """Return a file with one bit flipped in the middle of a piece of it, and the checksum unchanged."""
    place = data.index(content) + len(content) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def laughs(levels: int = 60) -> list:
    """Lists of shared lists: a few hundred bytes that expand to 2^levels items if sharing is ignored."""
    value = ['ha']
    for _ in range(levels):
        value = [value, value]
    return value


def nested(levels: int) -> bytes:
    """A pickle of a dict whose key is a deeply nested tuple: hashing it exhausts the stack of the process."""
    return b'\x80\x02}' + b')' + b'\x85' * levels + b'Ns.'


def nested_list(levels: int) -> bytes:
    """A pickle of a state dict and a deeply nested list."""
    return b'\x80\x02}X\x04\x00\x00\x00meta' + b']' * levels + b'a' * (levels - 1) + b's.'


def called(function: str, *arguments: object) -> bytes:
    """A pickle that calls a function by name; the function need not exist."""
    module, _, name = function.rpartition('.')
    pickled = pickle.dumps(arguments, protocol=2)[2:-1]
    return b'\x80\x02c' + f'{module}\n{name}\n'.encode() + pickled + b'R.'
