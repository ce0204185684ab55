"""Mutations of files, for parsers that may only raise the project's own errors."""

import random


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Change, remove, repeat or add some bytes."""
    data = bytearray(data)
    for _ in range(chance.randint(0, 6)):
        place = chance.randrange(len(data) + 1)
        kind = chance.randrange(5)
        if kind == 0:
            data[place : place + 1] = bytes([chance.randrange(256)])
        elif kind == 1:
            del data[place : place + chance.randint(1, 9)]
        elif kind == 2:
            data[place:place] = chance.choice([b'\n', b'"', b',', b'\0', b'\r', b':', b'\xef\xbb\xbf', b'9' * 30])
        elif kind == 3:
            data[place:place] = data[: chance.randint(0, 40)]
        else:
            data[place:place] = bytes([chance.randrange(32, 127)]) * chance.choice([1, 300, 6000])
    return bytes(data)
