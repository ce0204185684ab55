"""Files that would run code if they were not loaded as data, and files that would take all memory, or never end."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import torch


class Call:
    """A pickle of this is a call of anything."""

    def __init__(self, function, *args) -> None:
        self.call = function, args

    def __reduce__(self):
        return self.call


def touching(path: Path) -> Call:
    """A pickle of this makes a file when it is loaded."""
    return Call(os.system, f'touch {path}')


def saved(checkpoint: object, **options) -> bytes:
    """What torch.save writes."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer, **options)
    return buffer.getvalue()


def with_pickle(data: bytes, pickled: bytes) -> bytes:
    """A checkpoint with another ``data.pkl``."""
    return rezipped(data, lambda name, content: pickled if name.endswith('/data.pkl') else content)


def rezipped(data: bytes, change, **options) -> bytes:
    """A checkpoint whose members a function changes: from a name and the content to the new content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, 'w', **options) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return buffer.getvalue()


def flipped(data: bytes, content: bytes) -> bytes:
    """A file with one bit flipped in the middle of a piece of it, whose checksum stays."""
    place = data.index(content) + len(content) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def laughs(levels: int = 60) -> list:
    """Lists of shared lists: a few hundred bytes, and 2^levels items for who does not know that they are shared."""
    value = ['ha']
    for _ in range(levels):
        value = [value, value]
    return value


def nested(levels: int) -> bytes:
    """A pickle of a dict whose key is a tuple in a tuple in a tuple: hashing it exhausts the stack of the process."""
    return b'\x80\x02}' + b')' + b'\x85' * levels + b'Ns.'


def nested_list(levels: int) -> bytes:
    """A pickle of a state dict beside a list in a list in a list."""
    return b'\x80\x02}X\x04\x00\x00\x00meta' + b']' * levels + b'a' * (levels - 1) + b's.'


def called(function: str, *arguments: object) -> bytes:
    """A pickle of a call of a function by name, which need not exist."""
    module, _, name = function.rpartition('.')
    pickled = pickle.dumps(arguments, protocol=2)[2:-1]
    return b'\x80\x02c' + f'{module}\n{name}\n'.encode() + pickled + b'R.'
