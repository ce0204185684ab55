"""Checkpoints are data: what is in them never runs, and what MMEngine, MMSegmentation 0.x and torch write loads."""

import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.hostile import Call, touching
from helpers.tools import start_tool
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint

from mmseg_erfnet.errors import CheckpointError
from mmseg_erfnet.models.building import common_part
from mmseg_erfnet.models.checkpoints import check_fit, install_safe_loading, load_checkpoint_file, make_plain

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = OrderedDict(weight=torch.arange(4.0).reshape(2, 2), bias=torch.ones(2))


def form_of_mmengine() -> dict:
    """As MMEngine writes it: the message hub with its buffers, numpy numbers here and there."""
    hub = MessageHub('test_safe_loading')
    for loss in (3.0, 2.0):
        hub.update_scalar('train/loss', loss)
    hub.update_info('best_score', np.float64(48.5))
    hub.update_info('epoch', 2)
    return dict(
        meta=dict(
            epoch=2,
            iter=40,
            seed=7,
            cfg='model = dict()',
            hook_msgs=dict(score=np.float32(0.5)),
            dataset_meta=dict(classes=('a', 'b'), palette=np.array([[1, 2, 3], [4, 5, 6]], np.uint8)),
        ),
        state_dict=WEIGHTS,
        message_hub=hub.state_dict(),
        optimizer=dict(state={0: dict(step=torch.tensor(1.0))}, param_groups=[dict(lr=np.float64(0.1), params=[0])]),
    )


def form_of_mmseg0() -> dict:
    meta = dict(
        mmseg_version='0.24.1',
        CLASSES=('road', 'sidewalk'),
        PALETTE=[[128, 64, 128], [244, 35, 232]],
        config='norm_cfg = dict()',
        epoch=1,
        iter=160000,
    )
    return dict(meta=meta, state_dict=WEIGHTS)


def under_names_of_numpy_1(source: Path, target: Path) -> None:
    """The same file as numpy 1 would have written it."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, 'w') as new:
        for member in old.infolist():
            new.writestr(member, old.read(member).replace(b'numpy._core.', b'numpy.core.'))


@pytest.mark.parametrize('numpy_1', [False, True])
def test_form_of_mmengine(tmp_path, numpy_1):
    path = tmp_path / 'epoch_2.pth'
    torch.save(form_of_mmengine(), path)
    if numpy_1:
        source, path = path, tmp_path / 'numpy_1.pth'
        under_names_of_numpy_1(source, path)
    checkpoint = load_checkpoint_file(path)
    assert torch.equal(checkpoint['state_dict']['weight'], WEIGHTS['weight'])
    assert checkpoint['meta']['hook_msgs'] == dict(score=0.5)
    assert checkpoint['meta']['dataset_meta']['palette'] == [[1, 2, 3], [4, 5, 6]]
    assert checkpoint['optimizer']['param_groups'] == [dict(lr=0.1, params=[0])]
    buffer = checkpoint['message_hub']['log_scalars']['train/loss']
    assert type(buffer) is HistoryBuffer
    assert buffer.statistics('mean') == 2.5
    assert type(checkpoint['message_hub']['runtime_info']['best_score']) is float
    hub = MessageHub('test_form_of_mmengine')
    hub.load_state_dict(checkpoint['message_hub'])
    assert hub.get_scalar('train/loss').current() == 2.0
    assert hub.get_info('best_score') == 48.5


@pytest.mark.parametrize('zipped', [True, False])
def test_form_of_mmseg0(tmp_path, zipped):
    torch.save(form_of_mmseg0(), tmp_path / 'a.pth', _use_new_zipfile_serialization=zipped)
    checkpoint = load_checkpoint_file(tmp_path / 'a.pth')
    assert checkpoint['meta']['CLASSES'] == ('road', 'sidewalk')
    assert torch.equal(checkpoint['state_dict']['bias'], WEIGHTS['bias'])


def test_versions_of_modules_are_kept(tmp_path):
    torch.save(torch.nn.BatchNorm2d(1).state_dict(), tmp_path / 'a.pth')
    assert load_checkpoint_file(tmp_path / 'a.pth')['state_dict']._metadata['']['version'] == 2


def test_numbers_keep_their_byte_order(tmp_path):
    torch.save(dict(WEIGHTS, meta=dict(numbers=np.array([1, 2], '>i4'))), tmp_path / 'a.pth')
    assert load_checkpoint_file(tmp_path / 'a.pth')['meta'] == dict(numbers=[1, 2])


# --- Hostile files ----------------------------------------------------------------------------------------------------


class WithState(Call):
    """The same, and a state for the result."""

    def __init__(self, state, function, *args):
        super().__init__(function, *args)
        self.call = function, args, state


def hostile(target: Path) -> dict:
    """What would leave a mark (a file, or a change in a module) if it ran. Each with a word of the refusal."""
    return dict(
        system=(Call(os.system, f'touch {target}'), 'system'),
        open=(Call(open, str(target), 'w'), 'open'),
        eval=(Call(eval, f'open({str(target)!r}, "w")'), 'eval'),
        getattr=(Call(getattr, HistoryBuffer.update, '__globals__'), 'getattr'),
        getattr_of_buffer=(Call(getattr, HistoryBuffer, '__init__'), 'getattr'),
        path=(Path('x'), 'athlib'),
        array=(Call(np.ndarray, (1,), 'O'), 'numpy.ndarray'),
        objects=(np.array([Call(os.system, f'touch {target}')], object), 'numpy.dtype'),
        record_dtype=(np.zeros(1, [('a', 'f4')]), 'numpy.dtype'),
    )


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize('form', ['zip', 'legacy', 'pickle2', 'pickle4'])
@pytest.mark.parametrize('kind', hostile(Path()))
def test_hostile_file_is_refused_and_does_nothing(tmp_path, kind, form):
    target, path = tmp_path / 'mark', tmp_path / 'a.pth'
    content, word = hostile(target)[kind]
    content = dict(state_dict=WEIGHTS, meta=content)
    if form.startswith('pickle'):
        path.write_bytes(pickle.dumps(dict(meta=content['meta']), protocol=int(form[-1])))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == 'zip')
    with pytest.raises(CheckpointError, match=r'a\.pth') as info:
        load_checkpoint_file(path)
    assert not target.exists()
    if form in ('zip', 'legacy'):
        assert word in str(info.value)
        assert '--trust-checkpoint' in str(info.value)
    assert '\n' not in str(info.value)


def test_hostile_file_runs_where_it_is_trusted(tmp_path):
    target = tmp_path / 'mark'
    torch.save(dict(state_dict=WEIGHTS, meta=Call(os.system, f'touch {target}')), tmp_path / 'a.pth')
    load_checkpoint_file(tmp_path / 'a.pth', trust=True)
    assert target.exists()


def test_a_buffer_brings_no_statistics(tmp_path):
    """``HistoryBuffer.__setstate__`` would write them into its class."""
    before = dict(HistoryBuffer._statistics_methods)
    state = dict(
        _log_history=np.ones(2),
        _count_history=np.ones(2),
        max_length=9,
        new=1,
        statistics_methods=dict(mean='overwritten', new=1),
    )
    torch.save(dict(WEIGHTS, hub=WithState(state, HistoryBuffer)), tmp_path / 'a.pth')
    loaded = load_checkpoint_file(tmp_path / 'a.pth')['hub']
    assert HistoryBuffer._statistics_methods == before
    assert vars(loaded).keys() == {'_log_history', '_count_history', 'max_length'}


def test_nothing_stays_allowed(tmp_path):
    allowed = set(torch.serialization.get_safe_globals())
    torch.save(form_of_mmengine(), tmp_path / 'a.pth')
    load_checkpoint_file(tmp_path / 'a.pth')
    assert set(torch.serialization.get_safe_globals()) == allowed


# --- Broken and foreign files -----------------------------------------------------------------------------------------


def broken_files(folder: Path) -> dict:
    whole = io.BytesIO()
    torch.save(form_of_mmengine(), whole)
    whole = whole.getvalue()
    legacy = io.BytesIO()
    torch.save(dict(state_dict=WEIGHTS), legacy, _use_new_zipfile_serialization=False)
    archive = io.BytesIO()
    np.savez(archive, a=np.ones(2))
    script = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), script)
    other = io.BytesIO()
    torch.save(dict(model=dict(WEIGHTS), epoch=3), other)
    tensor = io.BytesIO()
    torch.save(torch.ones(3), tensor)
    return dict(
        empty=(b'', 'empty'),
        truncated=(whole[: len(whole) // 2], 'truncated'),
        truncated_at_its_start=(whole[:10], 'truncated'),
        truncated_legacy=(legacy.getvalue()[:200], 'damaged'),
        text=(b'version https://git-lfs.github.com/spec/v1', 'torch.save did not write it'),
        html=(b'<html>404</html>', 'torch.save did not write it'),
        numbers=(struct.pack('<8f', *range(8)), 'torch.save did not write it'),
        npz=(archive.getvalue(), 'not one that torch.save wrote'),
        torchscript=(script.getvalue(), 'TorchScript'),
        another_kind=(other.getvalue(), 'model, epoch'),
        tensor=(tensor.getvalue(), 'a Tensor'),
    )


@pytest.mark.parametrize('kind', broken_files(Path()))
@pytest.mark.parametrize('trust', [False, True])
def test_broken_file(tmp_path, kind, trust):
    content, words = broken_files(tmp_path)[kind]
    path = tmp_path / 'a.pth'
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as info:
        load_checkpoint_file(path, trust=trust)
    assert str(path) in str(info.value)
    assert '\n' not in str(info.value)


def test_no_file(tmp_path):
    with pytest.raises(CheckpointError, match='not a file'):
        load_checkpoint_file(tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='not a file'):
        load_checkpoint_file(tmp_path)


# --- Through MMEngine -------------------------------------------------------------------------------------------------


@pytest.fixture
def schemes():
    saved = CheckpointLoader._schemes.copy()
    yield
    CheckpointLoader._schemes = saved


@pytest.mark.usefixtures('schemes')
def test_mmengine_loads_by_it(tmp_path):
    model = torch.nn.Linear(2, 2)
    torch.save(form_of_mmengine(), tmp_path / 'good.pth')
    torch.save(dict(state_dict=WEIGHTS, meta=Call(os.system, f'touch {tmp_path / "mark"}')), tmp_path / 'bad.pth')
    install_safe_loading()
    load_checkpoint(model, str(tmp_path / 'good.pth'), map_location='cpu')
    assert torch.equal(model.weight, WEIGHTS['weight'])
    with pytest.raises(CheckpointError, match='could run code'):
        load_checkpoint(model, str(tmp_path / 'bad.pth'), map_location='cpu')
    assert not (tmp_path / 'mark').exists()
    install_safe_loading(trust=True)
    load_checkpoint(model, str(tmp_path / 'bad.pth'), map_location='cpu')
    assert (tmp_path / 'mark').exists()


@pytest.mark.usefixtures('schemes')
def test_an_address_is_loaded_by_it(tmp_path):
    import functools
    import threading
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    torch.save(dict(state_dict=WEIGHTS), tmp_path / 'good.pth')
    torch.save(dict(state_dict=WEIGHTS, meta=Call(os.system, f'touch {tmp_path / "mark"}')), tmp_path / 'bad.pth')
    handler = functools.partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}'
        install_safe_loading()
        model = torch.nn.Linear(2, 2)
        load_checkpoint(model, f'{address}/good.pth', map_location='cpu')
        assert torch.equal(model.weight, WEIGHTS['weight'])
        with pytest.raises(CheckpointError, match=rf'{address}/bad\.pth was not loaded'):
            load_checkpoint(model, f'{address}/bad.pth', map_location='cpu')
        with pytest.raises(CheckpointError, match=r'/none\.pth cannot be fetched'):
            load_checkpoint(model, f'{address}/none.pth', map_location='cpu')
        server.shutdown()
    assert not (tmp_path / 'mark').exists()


def test_import_changes_nothing(tmp_path):
    code = (
        'from mmengine.runner import CheckpointLoader; before = dict(CheckpointLoader._schemes); '
        'import mmseg_erfnet.models.checkpoints; assert CheckpointLoader._schemes == before'
    )
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], check=True, cwd=tmp_path)


# --- Saving -----------------------------------------------------------------------------------------------------------


def test_plain_loads_without_an_allow_list(tmp_path):
    checkpoint = form_of_mmengine()
    resumed_keys = checkpoint['message_hub']['resumed_keys']
    make_plain(checkpoint)
    torch.save(checkpoint, tmp_path / 'a.pth')
    loaded = torch.load(tmp_path / 'a.pth', weights_only=True)
    assert loaded['message_hub'] == dict(
        log_scalars={}, runtime_info=dict(best_score=48.5, epoch=2), resumed_keys=dict(best_score=True, epoch=True)
    )
    assert loaded['optimizer']['param_groups'] == [dict(lr=0.1, params=[0])]
    assert 'train/loss' in resumed_keys, 'the running hub was changed'


def test_plain_keeps_versions_of_modules(tmp_path):
    model = torch.nn.BatchNorm2d(1)
    checkpoint = make_plain(dict(state_dict=model.state_dict()))
    assert checkpoint['state_dict']._metadata['']['version'] == 2


class Plain(Hook):
    priority = 'LOWEST'

    def before_save_checkpoint(self, runner, checkpoint):
        make_plain(checkpoint)


def run_of_mmengine(folder: Path, epochs: int, **kwargs) -> Runner:
    from mmengine.model import BaseModel

    class Model(BaseModel):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def forward(self, inputs, mode):
            return dict(loss=self.layer(inputs).square().mean())

    torch.manual_seed(0)
    return Runner(
        Model(),
        str(folder),
        train_dataloader=dict(
            dataset=[dict(inputs=torch.ones(1))] * 4,
            batch_size=2,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        experiment_name=f'{folder.name}_{epochs}',
        param_scheduler=dict(type='CosineAnnealingLR', T_max=4, end=4, by_epoch=True),
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.1)),
        default_scope='mmengine',
        **kwargs,
    )


@pytest.mark.usefixtures('schemes')
@pytest.mark.parametrize('plain', [True, False])
def test_runner_saves_and_resumes(tmp_path, plain):
    hooks = [Plain()] if plain else []
    runner = run_of_mmengine(tmp_path, 1, custom_hooks=hooks)
    runner.train()
    path = tmp_path / 'epoch_1.pth'
    if plain:
        torch.load(path, weights_only=True)
    else:
        with pytest.raises(pickle.UnpicklingError):
            torch.load(path, weights_only=True)
    install_safe_loading()
    resumed = run_of_mmengine(tmp_path, 2, custom_hooks=hooks, resume=True)
    resumed.train()
    assert (resumed.epoch, resumed.iter) == (2, 4)
    whole = run_of_mmengine(tmp_path / 'whole', 2)
    whole.train()
    assert torch.equal(resumed.model.layer.weight, whole.model.layer.weight)


# --- Fitting ----------------------------------------------------------------------------------------------------------


def test_check_fit():
    model = torch.nn.Linear(2, 2)
    check_fit(model, dict(state_dict=WEIGHTS))
    with pytest.raises(CheckpointError, match=r'unknown: extra; missing: bias; wrongly shaped: weight \(3,\)'):
        check_fit(model, dict(state_dict=dict(weight=torch.ones(3), extra=torch.ones(1))))


@pytest.mark.parametrize(
    ('value', 'said'),
    [
        (torch.ones(2, 2, dtype=torch.int8), r'whole numbers \(int8\) as weight, .* not quantised'),
        (torch.ones(2, 2, dtype=torch.bool), r'whole numbers \(bool\) as weight'),
        (torch.full((2, 2), 1e300, dtype=torch.float64), 'numbers as weight that are too large'),
    ],
)
def test_values_that_the_model_cannot_have(value, said):
    """torch would convert all of them without a word, the last one to infinity."""
    model, checkpoint = torch.nn.Linear(2, 2), dict(state_dict={**WEIGHTS, 'weight': value})
    with pytest.raises(CheckpointError, match=said):
        check_fit(model, checkpoint)
    with pytest.raises(CheckpointError, match=said):
        common_part(model, checkpoint)
    for fine in (torch.ones(2, 2, dtype=torch.float64), torch.ones(2, 2, dtype=torch.bfloat16)):
        check_fit(model, dict(state_dict={**WEIGHTS, 'weight': fine}))


def test_tool_refuses_in_a_sentence(tmp_path):
    mark = tmp_path / 'mark'
    torch.save(dict(state_dict=WEIGHTS, meta=touching(mark)), tmp_path / 'a.pth')
    result = start_tool('convert_checkpoint', 'a.pth', 'b.pth', cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith('error: a.pth was not loaded')
    assert len(result.stderr.splitlines()) == 1
    assert not mark.exists()
    assert not (tmp_path / 'b.pth').exists()
