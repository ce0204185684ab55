"""A checkpoint whose states are not those of the config, or no states, is refused before anything of it is used."""

import copy
import random
from pathlib import Path

import pytest
import torch
from helpers.tiny_run import tiny_run

from mmseg_erfnet.errors import CheckpointError, UserError


@pytest.fixture(scope='module')
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('resuming') / 'run'
    tiny_run(folder, 1, {1: 0.5}, checkpoint=dict(max_keep_ckpts=2)).train()
    return folder


@pytest.fixture
def resume(run, tmp_path):
    """A function that resumes a run from its checkpoint after changing it."""

    def go_on(change=lambda checkpoint: None, epochs: int = 2, **options):
        checkpoint = torch.load(run / 'epoch_1.pth', weights_only=True)
        change(checkpoint)
        torch.save(checkpoint, tmp_path / 'changed.pth')
        options = dict(resume=True, load_from=str(tmp_path / 'changed.pth'), **options)
        runner = tiny_run(tmp_path / 'run', epochs, {2: 0.6}, checkpoint=dict(max_keep_ckpts=2), **options)
        runner.train()
        return runner

    return go_on


def test_what_fits_is_resumed(resume):
    assert resume().epoch == 2


@pytest.mark.parametrize(
    ('optimizer', 'said'),
    [
        (dict(type='SGD', lr=0.1, momentum=0.9), 'optimizer is of another kind than the config has'),
        (dict(type='AdamW', lr=0.1), 'optimizer is of another kind than the config has'),
        (dict(type='RMSprop', lr=0.1), 'optimizer is of another kind than the config has'),
    ],
)
def test_another_optimizer(resume, optimizer, said):
    with pytest.raises(CheckpointError, match=said) as info:
        resume(optim_wrapper=dict(optimizer=optimizer))
    assert '--cfg-options load_from=FILE and another --work-dir' in str(info.value)


def test_other_options_of_the_same_optimizer_are_as_before(resume):
    assert resume(optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.2))).epoch == 2


def test_parameter_groups_of_their_own(resume):
    paramwise = dict(custom_keys={'norm': dict(lr_mult=0.1)})
    with pytest.raises(CheckpointError, match=r'optimizer has 1 parameter groups instead of 4'):
        resume(optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.1), paramwise_cfg=paramwise))


COSINE = dict(type='CosineAnnealingLR', T_max=8, end=8, by_epoch=True)


@pytest.mark.parametrize(
    ('schedule', 'said'),
    [
        ([], ''),
        (
            [COSINE, dict(type='LinearLR', start_factor=0.1, end=2, by_epoch=False)],
            'param_schedulers are 1 instead of 2',
        ),
        (
            dict(type='MultiStepLR', milestones=[1], by_epoch=True),
            r'differ from those of the config \(T_max, end, .* more\)',
        ),
        (dict(COSINE, T_max=4, end=4), r'differ from those of the config \(T_max, end\)'),
        (dict(type='PolyLR', end=8, by_epoch=True), r'differ from those of the config \(.*power.*\)'),
    ],
)
def test_other_schedules(resume, schedule, said):
    if not said:
        assert resume(param_scheduler=schedule).epoch == 2
        return
    with pytest.raises(CheckpointError, match=said):
        resume(param_scheduler=schedule)


def places(value: object, way: tuple = ()) -> list[tuple]:
    """The ways to all entries of a checkpoint."""
    found = [way] if way else []
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        found += places(value[key], (*way, key))
    return found


def put(checkpoint: dict, way: tuple, value: object) -> None:
    *before, last = way
    for key in before:
        checkpoint = checkpoint[key]
    checkpoint[last] = value


MEANINGLESS = [None, 'text', -1, 10**30, 1.5, float('nan'), True, [], {}, ['text'], {'a': 1}, torch.ones(3), (1, 2)]
DEFINITE = [
    ('meta', 'epoch'),
    ('meta', 'iter'),
    ('optimizer',),
    ('optimizer', 'param_groups'),
    ('optimizer', 'state'),
    ('optimizer', 'state', 0),
    ('optimizer', 'param_groups', 0),
    ('optimizer', 'param_groups', 0, 'params'),
    ('optimizer', 'param_groups', 0, 'lr'),
    ('param_schedulers', 0),
    ('param_schedulers', 0, 'last_step'),
    ('param_schedulers', 0, 'base_values'),
    ('message_hub',),
    ('message_hub', 'runtime_info'),
    ('message_hub', 'resumed_keys'),
    ('message_hub', 'runtime_info', 'best_score'),
    ('message_hub', 'runtime_info', 'keep_ckpt_ids'),
]


@pytest.mark.parametrize('way', DEFINITE, ids=str)
@pytest.mark.parametrize('value', ['text', float('nan')])
def test_a_wrong_type_is_refused_by_name(resume, way, value):
    with pytest.raises(CheckpointError) as info:
        resume(lambda checkpoint: put(checkpoint, way, value))
    assert way[0] in str(info.value)
    assert len(str(info.value).splitlines()) == 1


def test_a_state_of_the_optimizer_that_is_no_number(resume):
    def change(checkpoint):
        checkpoint['optimizer']['state'][0]['exp_avg'][0] = float('nan')

    with pytest.raises(CheckpointError, match='holds NaN'):
        resume(change)


def test_any_wrong_entry_is_refused_or_of_no_matter(run, resume):
    """Drawn from all entries and kinds of values, with a seed; only errors of ours come out."""
    generator = random.Random(0)
    ways = places(torch.load(run / 'epoch_1.pth', weights_only=True))
    ways = [way for way in ways if way[0] != 'state_dict' or len(way) < 3]
    refused = 0
    for _ in range(120):
        way, value = generator.choice(ways), generator.choice(MEANINGLESS)
        try:
            resume(lambda checkpoint, way=way, value=value: put(checkpoint, way, copy.deepcopy(value)))
        except UserError as error:
            refused += 1
            assert len(str(error).splitlines()) == 1, (way, value)  # noqa: PT017
        except Exception as error:
            raise AssertionError(f'{way} = {value!r}') from error
    assert refused > 60
