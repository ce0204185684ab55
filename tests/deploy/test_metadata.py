"""The checksum that covers a model's files, and metadata that are not what an export writes."""

import contextlib
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.small_models import exported

from mmseg_erfnet.deploy import Predictor
from mmseg_erfnet.deploy.metadata import OPEN_CHECKSUM, check_seal, parse_metadata, read_files, seal
from mmseg_erfnet.errors import UsageError

RIGHT = dict(classes=['road', 'sky'], palette=[[0, 0, 0], [1, 2, 3]], output='labels', size=None, batch=None)


def copied(folder: Path, suffix: str) -> Path:
    """A copy of the small model's files of one format."""
    for part in read_files(exported() / f'erfnet_camvid11{suffix}'):
        shutil.copy(exported() / f'erfnet_camvid11{part}', folder)
    return folder / f'erfnet_camvid11{suffix}'


@pytest.mark.slow
@pytest.mark.parametrize(('suffix', 'damaged'), [('.onnx', '.onnx'), ('.xml', '.xml'), ('.xml', '.bin')])
def test_every_flipped_bit_is_found(suffix, damaged, tmp_path):
    pytest.importorskip('onnx')
    path = copied(tmp_path, suffix)
    contents = read_files(path)
    assert check_seal(path, contents)
    generator = random.Random(0)
    original = contents[damaged]
    for _ in range(40):
        place, bit = generator.randrange(len(original)), 1 << generator.randrange(8)
        changed = original[:place] + bytes([original[place] ^ bit]) + original[place + 1 :]
        # Where the checksum's own mark is hit, there is none, which a Predictor refuses.
        with contextlib.suppress(UsageError):
            assert not check_seal(path, {**contents, damaged: changed})
    for shorter in (b'', original[: len(original) // 2], original[:-1], original + b'\0'):
        if damaged != suffix or shorter.startswith(original[:-1]):
            with pytest.raises(UsageError, match='is damaged'):
                check_seal(path, {**contents, damaged: shorter})


@pytest.mark.parametrize(('suffix', 'damaged'), [('.onnx', '.onnx'), ('.xml', '.xml'), ('.xml', '.bin')])
def test_a_damaged_file_never_loads(suffix, damaged, tmp_path):
    pytest.importorskip('onnxruntime')
    path = copied(tmp_path, suffix)
    file = path.with_suffix(damaged)
    original, generator = file.read_bytes(), random.Random(1)
    for number in range(6):
        place = generator.randrange(len(original))
        some = generator.randbytes(1 + number % 4)
        file.write_bytes(original[:place] + some + original[place + len(some) + number % 2 :])
        if file.read_bytes() != original:
            with pytest.raises(UsageError):
                Predictor(path, threads=1)
    file.write_bytes(original)
    assert Predictor(path, threads=1).predict(np.zeros((8, 8, 3), np.uint8)).shape == (8, 8)


def test_weights_beside_the_description_of_others_are_refused(tmp_path):
    pytest.importorskip('openvino')
    path = copied(tmp_path, '.xml')
    # What a kill between the two files leaves: the new weights, and the old description.
    weights = bytearray(path.with_suffix('.bin').read_bytes())
    weights[:400] = bytes(400)
    path.with_suffix('.bin').write_bytes(weights)
    with pytest.raises(UsageError, match=r'erfnet_camvid11\.xml and erfnet_camvid11\.bin are from different exports'):
        Predictor(path)


def test_a_seal_is_over_all_files(tmp_path):
    path = tmp_path / 'model.param'
    for suffix, text in (('.param', 'a'), ('.bin', 'b'), ('.json', json.dumps(dict(checksum=OPEN_CHECKSUM)))):
        path.with_suffix(suffix).write_text(text)
    with pytest.raises(UsageError, match='is damaged'):
        check_seal(path, read_files(path))
    seal(path)
    contents = read_files(path)
    assert check_seal(path, contents)
    assert json.loads(contents['.json'])['checksum'] != OPEN_CHECKSUM
    assert not check_seal(path, {**contents, '.json': b'{}'})
    path.with_suffix('.bin').unlink()
    with pytest.raises(UsageError, match=r'needs model\.bin next to it'):
        read_files(path)


@pytest.mark.parametrize(
    ('change', 'what'),
    [
        (dict(classes=None), 'classes'),
        (dict(classes=[]), 'classes'),
        (dict(classes='road'), 'classes'),
        (dict(classes=['road', 3]), 'classes'),
        (dict(classes=['x'] * 257, palette=[[0, 0, 0]] * 257), 'classes'),
        (dict(palette=[[0, 0, 0]]), 'palette'),
        (dict(palette=[[0, 0, 0], [1, 2]]), 'palette'),
        (dict(palette=[[0, 0, 0], [1, 2, 256]]), 'palette'),
        (dict(palette=[[0, 0, 0], [1, 2, 0.5]]), 'palette'),
        (dict(palette=[[0, 0, 0], [True, 2, 3]]), 'palette'),
        (dict(output='colours'), 'output'),
        (dict(output=['labels']), 'output'),
        (dict(size=[1]), 'size'),
        (dict(size=[0, 4]), 'size'),
        (dict(size='ab'), 'size'),
        (dict(batch=0), 'batch'),
        (dict(batch=float('nan')), 'batch'),
    ],
)
def test_what_is_wrong_in_metadata_is_named(change, what):
    assert parse_metadata(json.dumps(RIGHT), 'model.xml') == RIGHT
    with pytest.raises(UsageError, match=rf'metadata of model\.xml are damaged \({what} is missing or wrong\)'):
        parse_metadata(json.dumps({**RIGHT, **change}), 'model.xml')


def test_only_a_sentence_comes_of_damaged_metadata():
    """A seeded fuzz: bytes changed, cut and repeated, values swapped, deep and long."""
    text, generator = json.dumps(RIGHT).encode(), random.Random(0)
    strange = [b'[' * 100_000, b'{"a":' * 50_000, b'9' * 10_000, b'null', b'[]', b'"x"', b'\xff\xfe', b'', b'NaN']
    values = [None, True, -1, 1e308, float('inf'), 'x', [], {}, [[]], [None] * 3, '\ud800', 2**70]
    for name in RIGHT:
        strange += [json.dumps({**RIGHT, name: value}).encode() for value in values]
        strange.append(json.dumps({key: value for key, value in RIGHT.items() if key != name}).encode())
    for _ in range(3000):
        start, length = generator.randrange(len(text)), generator.randrange(6)
        strange.append(text[:start] + generator.randbytes(generator.randrange(4)) + text[start + length :])
    passed, sentences = 0, []
    for number, mutation in enumerate(strange):
        try:
            found = parse_metadata(mutation, f'model{number}.xml')
        except UsageError as error:
            sentences.append(str(error))
        else:
            passed += 1
            assert len(found['palette']) == len(found['classes']) > 0
    assert {len(sentence.splitlines()) for sentence in sentences} == {1}
    assert 0 < passed < len(strange) / 2
