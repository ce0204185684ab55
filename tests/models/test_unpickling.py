"""What torch.save wrote is read without running it, in bounded time and memory; what else there may be is refused."""

import io
import os
import pickle
import random
import resource
import struct
import subprocess
import sys
import time
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch
from helpers.hostile import called, flipped, laughs, nested, nested_list, rezipped, saved, with_pickle
from mmengine.logging import HistoryBuffer

from mmseg_erfnet.errors import CheckpointError
from mmseg_erfnet.models.checkpoints import load_checkpoint_file
from mmseg_erfnet.models.unpickling import loads

WEIGHTS = OrderedDict(weight=torch.arange(4.0).reshape(2, 2), bias=torch.ones(2))
LEGACY = dict(_use_new_zipfile_serialization=False)


def refusal(tmp_path, data: bytes) -> str:
    """What is said of a file; it is one line that names it, and comes soon."""
    path = tmp_path / 'a.pth'
    path.write_bytes(data)
    begin = time.monotonic()
    with pytest.raises(CheckpointError) as info:
        load_checkpoint_file(path)
    assert time.monotonic() - begin < 5
    said = str(info.value)
    assert said.startswith(str(path))
    assert len(said.splitlines()) == 1
    assert said.isprintable()
    assert len(said) < 1000
    return said.removeprefix(str(path))


# --- The same as torch.load -------------------------------------------------------------------------------------------


def tensors() -> dict:
    base = torch.arange(24.0)
    kinds = {str(dtype): torch.ones(3, dtype=dtype) for dtype in (torch.float16, torch.bfloat16, torch.float64)}
    kinds |= {str(dtype): torch.arange(3).to(dtype) for dtype in (torch.int64, torch.int32, torch.int16, torch.int8)}
    kinds |= {str(dtype): torch.tensor([1, 0]).to(dtype) for dtype in (torch.uint8, torch.bool)}
    return kinds | dict(
        view=base[2:10].view(2, 4),
        transposed=base.view(4, 6).t(),
        channels_last=torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        expanded=torch.ones(1).expand(3, 2),
        scalar=torch.tensor(2.5),
        empty=torch.empty(0, 3),
        parameter=torch.nn.Parameter(torch.ones(2)),
    )


@pytest.mark.parametrize('options', [{}, LEGACY])
def test_every_dense_tensor(options):
    data = saved(dict(state_dict=tensors()), **options)
    for name, expected in tensors().items() | dict(view=torch.arange(2.0, 10.0).view(2, 4)).items():
        found = loads(data)['state_dict'][name]
        assert type(found) is torch.Tensor
        assert not found.requires_grad
        assert (found.dtype, found.shape, found.stride()) == (expected.dtype, expected.shape, expected.stride())
        if name != 'channels_last':
            assert torch.equal(found, expected)


@pytest.mark.parametrize('options', [{}, LEGACY])
def test_views_share_their_memory(options):
    base = torch.zeros(4)
    found = loads(saved(dict(base=base, view=base[1:]), **options))
    found['base'][2] = 7
    assert found['view'][1] == 7


@pytest.mark.parametrize('options', [{}, LEGACY])
def test_everything_else_that_is_data(options):
    content = dict(
        numbers=[1, -1, 255, 65536, 2**40, 1.5, True, None],
        text='ö\ud800',
        raw=b'\x00\xff',
        nested=({'a': (1, 2)}, [], ()),
        set={1, 'a'},
        counter=Counter(a=2),
        ordered=OrderedDict(a=1),
        size=torch.Size([1, 2]),
        dtype=torch.float32,
        scalar=np.float64(0.5),
        text_of_numpy=np.str_('a'),
        array=np.arange(6, dtype='>i2').reshape(2, 3),
        fortran=np.asfortranarray(np.arange(6).reshape(2, 3)),
        no_array=np.empty((0, 3)),
    )
    found = loads(saved(content, **options))
    expected = content | dict(
        scalar=0.5, array=[[0, 1, 2], [3, 4, 5]], fortran=[[0, 1, 2], [3, 4, 5]], no_array=[], text_of_numpy='a'
    )
    assert found == expected
    assert type(found['scalar']) is float
    assert type(found['counter']) is Counter


def test_buffer_of_mmengine():
    buffer = HistoryBuffer([3.0, 2.0], [1, 1])
    assert loads(saved(dict(buffer=buffer)))['buffer'].mean() == 2.5


def test_byte_order_of_another_machine():
    weights = dict(weight=torch.tensor([1.0, 2.0]))

    def swap(name: str, content: bytes) -> bytes:
        if name.endswith('byteorder'):
            return b'big'
        return struct.pack('>2f', 1, 2) if '/data/' in name else content

    assert torch.equal(loads(rezipped(saved(weights), swap))['weight'], weights['weight'])


def test_shipped_weights(pytestconfig):
    path = pytestconfig.rootpath / 'weights' / 'erfnet_camvid11_train.pth'
    found, expected = loads(path.read_bytes()), torch.load(path, weights_only=True)
    assert found['meta'] == expected['meta']
    assert all(torch.equal(found['state_dict'][name], value) for name, value in expected['state_dict'].items())


# --- No code, no other objects ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'function',
    [
        'os.system',
        'builtins.eval',
        'builtins.exec',
        'builtins.__import__',
        'builtins.bytearray',
        'importlib.import_module',
        'torch.load',
        'torch.hub.load',
        'torch.Tensor',
        'torch.FloatTensor',
        'torch.tensor',
        'torch.serialization._get_layout',
        'functools.partial',
        'operator.attrgetter',
        'mmengine.config.Config.fromfile',
        'mmengine.logging.HistoryBuffer',
        'collections.namedtuple',
        '_codecs.decode',
        'numpy.load',
        'numpy.core.multiarray.fromfile',
        'pathlib.PosixPath',
    ],
)
def test_functions_are_refused_by_name(tmp_path, function):
    said = refusal(tmp_path, with_pickle(saved(WEIGHTS), called(function, 'x')))
    assert function in said
    assert 'it is more than data and could run code' in said
    assert '--trust-checkpoint' in said


@pytest.mark.parametrize('protocol', range(6))
def test_operations_that_torch_does_not_write(tmp_path, protocol):
    pickled = pickle.dumps(dict(a=1, b=[2**70, 'c', {3}]), protocol=protocol)
    refusal(tmp_path, with_pickle(saved(WEIGHTS), pickled))


@pytest.mark.parametrize(
    'pickled',
    [
        b'\x80\x02X\x01\x00\x00\x00a)R.',  # a text is called
        b'\x80\x02ccollections\nOrderedDict\n)R)R.',  # what was made is called
        b'\x80\x02ccollections\nOrderedDict\n)\x81.',  # made without its function
        b'\x80\x02]}b.',  # a list gets a state
        b'\x80\x02)K\x01a.',  # a tuple is appended to
        b'\x80\x02]K\x00K\x01s.',  # items of a list are set
        b'\x80\x02K\x05Q.',  # a number is a storage
        b'\x80\x02h\x05.',  # there is nothing to get
        b'\x80\x02.',
        b'\x80\x02N',
        b'',
        b'\x80\x02r\xff\xff\xff\xff.',
        b'\x80\x02X\xff\xff\xff\xffa.',
    ],
)
def test_pickles_that_are_no_data(tmp_path, pickled):
    refusal(tmp_path, with_pickle(saved(WEIGHTS), pickled))


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('options', [{}, LEGACY])
@pytest.mark.parametrize(
    'make',
    [
        lambda: torch.ones(2, 2, device='meta'),
        lambda: torch.eye(2).to_sparse(),
        lambda: torch.eye(2).to_sparse_csr(),
        lambda: torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8),
        lambda: torch.quantize_per_channel(torch.ones(2, 2), torch.ones(2), torch.zeros(2), 0, torch.qint8),
        lambda: torch.ones(2, 2, dtype=torch.complex64),
        lambda: torch.ones(2, 2).to(torch.float8_e4m3fn),
        lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    ],
    ids=['meta', 'sparse', 'csr', 'quantised', 'per channel', 'complex', 'float8', 'nested'],
)
def test_tensors_that_are_not_dense(tmp_path, make, options):
    said = refusal(tmp_path, saved(dict(state_dict=dict(WEIGHTS, weight=make())), **options))
    assert 'give a checkpoint of dense' in said


# --- Bounded ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('place', ['meta', 'state_dict', 'optimizer', 'message_hub', 'anything'])
@pytest.mark.parametrize('options', [{}, LEGACY])
def test_shared_parts_that_expand(tmp_path, place, options):
    data = saved({'state_dict': WEIGHTS, place: dict(WEIGHTS, a=laughs())}, **options)
    assert len(data) < 10_000
    assert 'shared parts make it many times as large' in refusal(tmp_path, data)


def test_shared_parts_in_what_is_called(tmp_path):
    """torch's own interpreter prints what it refuses to call."""
    expanding = pickle.dumps(laughs(), protocol=2)[:-1]
    refusal(tmp_path, with_pickle(saved(WEIGHTS), expanding + b')R.'))
    refusal(tmp_path, with_pickle(saved(WEIGHTS), expanding + b'Q.'))
    refusal(tmp_path, with_pickle(saved(WEIGHTS), b'\x80\x02cnumpy\ndtype\n' + expanding[2:] + b'\x85R.'))


def test_many_views_of_one_storage(tmp_path):
    base = torch.zeros(1 << 18)
    assert 'shared parts' in refusal(tmp_path, saved({f'{index}': base[index:] for index in range(100)}))


def test_a_container_that_holds_itself(tmp_path):
    value = []
    value.append(value)
    assert 'holds itself' in refusal(tmp_path, saved(dict(state_dict=WEIGHTS, meta=value)))


def test_nesting(tmp_path):
    """In a process of its own, which a segmentation fault would end."""
    pickles = [make(levels) for levels in (1000, 1_000_000) for make in (nested, nested_list)]
    for number, pickled in enumerate(pickles):
        (tmp_path / f'{number}.pth').write_bytes(with_pickle(saved(WEIGHTS), pickled))
    code = (
        'import sys; from mmseg_erfnet.errors import CheckpointError\n'
        'from mmseg_erfnet.models.checkpoints import load_checkpoint_file\n'
        'for path in sys.argv[1:]:\n'
        '    try: load_checkpoint_file(path)\n'
        '    except CheckpointError as error: print(error)\n'
    )
    command = [sys.executable, '-W', 'ignore', '-c', code, *(f'{number}.pth' for number in range(4))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.count('a tuple is the key of a dict') == 2
    assert done.stdout.count('nested over more than 100 levels') == 2


def declared(size: int, options: dict) -> bytes:
    """A checkpoint that declares a storage and a tensor of more numbers than it has."""
    data = saved(dict(weight=torch.zeros(123)), **options)
    # 123 as BININT1: the size of the storage, and of the tensor.
    pickled = data if options else zipfile.ZipFile(io.BytesIO(data)).read('archive/data.pkl')
    changed = pickled.replace(b'K\x7b', b'J' + struct.pack('<i', size))
    assert changed != pickled
    return changed if options else with_pickle(data, changed)


@pytest.mark.parametrize('options', [{}, LEGACY])
def test_sizes_that_are_only_declared(tmp_path, options):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal(tmp_path, declared(2**31 - 1, options))
    refusal(tmp_path, declared(-1, options))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, 'kilobytes'


def test_compressed_members(tmp_path):
    data = saved(dict(weight=torch.zeros(1 << 22)))
    bomb = rezipped(data, lambda name, content: content, compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < len(data) / 100
    assert 'compressed' in refusal(tmp_path, bomb)


def test_members_that_overlap(tmp_path):
    """Many entries of the archive's table point at the same bytes."""
    data = saved(dict(weight=torch.zeros(1 << 16)))
    end = data.rindex(b'PK\x05\x06')
    table = struct.unpack('<I', data[end + 16 : end + 20])[0]
    with zipfile.ZipFile(tmp_path / 'b.zip', 'w') as archive:
        archive.writestr('archive/data.pkl', b'')
    assert table < end
    buffer = rezipped(data, lambda name, content: content)
    end = buffer.rindex(b'PK\x05\x06')
    table, length = struct.unpack('<I', buffer[end + 16 : end + 20])[0], end
    entries = buffer[table:length]
    count = struct.unpack('<H', buffer[end + 10 : end + 12])[0]
    repeated = entries * 50
    trailer = struct.pack('<4s4H2IH', b'PK\x05\x06', 0, 0, count * 50, count * 50, len(repeated), table, 0)
    assert 'overlap' in refusal(tmp_path, buffer[:table] + repeated + trailer)


# --- Damaged ----------------------------------------------------------------------------------------------------------


def test_a_flipped_bit_in_a_weight(tmp_path):
    weight = torch.rand(100)
    data = saved(dict(state_dict=dict(weight=weight)))
    assert 'damaged' in refusal(tmp_path, flipped(data, weight.numpy().tobytes()))


def test_a_storage_of_another_length(tmp_path):
    shorter = rezipped(saved(WEIGHTS), lambda name, content: content[:-4] if '/data/' in name else content)
    assert 'damaged' in refusal(tmp_path, shorter)


def test_a_storage_that_is_missing(tmp_path):
    data = saved(WEIGHTS).replace(b'archive/data/1', b'archive/data/7')
    assert 'damaged' in refusal(tmp_path, data)


def test_a_tensor_beyond_its_storage():
    pickled = saved(dict(weight=torch.zeros(123)), **LEGACY).replace(b'K\x7b\x85', b'K\x7c\x85')
    with pytest.raises(pickle.UnpicklingError, match='beyond its storage'):
        loads(pickled)


def mutated(data: bytes, generator: random.Random) -> bytes:
    """A file with a few changes of the kinds that storage, transfer and malice make."""
    data = bytearray(data)
    for _ in range(generator.randint(1, 4)):
        place = generator.randrange(len(data))
        kind = generator.randrange(6)
        if kind == 0:
            data[place] ^= 1 << generator.randrange(8)
        elif kind == 1:
            data[place] = generator.randrange(256)
        elif kind == 2:
            del data[place : place + generator.randint(1, 40)]
        elif kind == 3:
            data[place:place] = generator.randbytes(generator.randint(1, 20))
        elif kind == 4:
            data[place : place + 8] = generator.choice([b'\xff' * 8, b'\0' * 8, b'\xff\xff\xff\x7f', b'(((((((('])
        else:
            other = generator.randrange(len(data))
            data[place : place + 16] = data[other : other + 16]
        data = data or bytearray(b'\x80')
    return bytes(data)


def fuzzed() -> list[bytes]:
    """Small files of each form, some as bare pickles, so that no checksum hides what is inside."""
    content = dict(
        meta=dict(epoch=1, dataset_meta=dict(classes=('a', 'b'), palette=[[1, 2, 3], [4, 5, 6]]), score=np.float32(1)),
        state_dict=torch.nn.BatchNorm1d(3).state_dict(),
        message_hub=dict(log_scalars=dict(a=HistoryBuffer([1.0], [1])), runtime_info=dict(best=0.5), resumed_keys={}),
        optimizer=dict(state={0: dict(step=torch.tensor(1.0))}, param_groups=[dict(lr=0.1, betas=(0.9, 0.99))]),
    )
    return [saved(content), saved(content, **LEGACY), saved(dict(content['state_dict']), **LEGACY)]


def test_mutations_end_in_errors_of_ours_alone(tmp_path):
    generator, sources = random.Random(0), fuzzed()
    pickled = zipfile.ZipFile(io.BytesIO(sources[0])).read('archive/data.pkl')
    path, loaded, said, begin = tmp_path / 'a.pth', [], [], time.monotonic()
    for number in range(3000):
        source = number % 4
        data = (
            with_pickle(sources[0], mutated(pickled, generator)) if source == 3 else mutated(sources[source], generator)
        )
        path.write_bytes(data)
        try:
            loaded.append(load_checkpoint_file(path)['state_dict'])
        except CheckpointError as error:
            said.append(str(error))
    assert time.monotonic() - begin < 60
    assert loaded
    assert all(value.isfinite().all() for weights in loaded for value in weights.values() if value.is_floating_point())
    assert said
    assert all(str(path) in line and line.isprintable() and len(line) < 2000 for line in said)


# --- What is not a regular file ---------------------------------------------------------------------------------------


def test_a_pipe_or_a_device_does_not_block(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    for path in (tmp_path / 'pipe', '/dev/zero', '/dev/null', tmp_path, 'a\0b', '~nobody-has-this-name/a.pth', ''):
        with pytest.raises(CheckpointError, match=r'is not a file|cannot be'):
            load_checkpoint_file(path)
