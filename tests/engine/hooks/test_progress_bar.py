import io
import json
import logging
import re
from pathlib import Path

import pytest
from helpers.oracle import Oracle  # noqa: F401  (registers it)
from mmengine.runner import Runner

from mmseg_erfnet.engine.hooks import ProgressBarHook
from mmseg_erfnet.engine.launch import train
from mmseg_erfnet.engine.runner import SafeRunner

LINE = (
    r'epoch 2/[23] \[2/3\]  loss \d\.\d{4}  lr 8\.0e-04  [\d.e+]+ img/s  best mIoU \d+\.\d\d  '
    r'\d+:\d\d:\d\d left$'
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(small_config, terminal: io.StringIO | None = None, **options) -> tuple[str, list[dict]]:
    """Train, three iterations an epoch; return the text of the log file and the lines of the scalars."""
    cfg = small_config('erfnet_camvid', **{'train_cfg.max_epochs': 3, 'default_hooks.logger.interval': 1, **options})
    cfg.model = dict(type='mmseg_erfnet.Oracle', data_preprocessor=cfg.model.data_preprocessor)
    cfg.custom_hooks = [dict(type='mmseg_erfnet.ProgressBarHook')]
    cfg.default_hooks.checkpoint.update(interval=100)
    if 'default_hooks.checkpoint.save_best' not in options:
        cfg.default_hooks.checkpoint.save_best = None
    runner = SafeRunner.from_cfg(cfg)
    if terminal is not None:
        [console] = [handler for handler in runner.logger.handlers if type(handler) is logging.StreamHandler]
        console.setStream(terminal)
        next(hook for hook in runner.hooks if isinstance(hook, ProgressBarHook)).interval = 0
    runner.train()
    [log], scalars = Path(runner.log_dir).glob('*.log'), Path(runner.log_dir) / 'vis_data' / 'scalars.json'
    return log.read_text(), [json.loads(line) for line in scalars.read_text().splitlines()]


def test_one_line_says_it_all(small_config):
    text, scalars = run(small_config)
    assert len(re.findall(LINE, text, re.MULTILINE)) == 1
    assert re.search(r'epoch 1/3 \[1/3\]  loss \S+  lr \S+  \S+ img/s  \S+ left$', text, re.MULTILINE), 'no best yet'
    best = max(line['val/mIoU'] for line in scalars[:8] if 'val/mIoU' in line)
    assert re.findall(r'epoch 3/3 .* best mIoU (\S+)', text) == [f'{best:.2f}'] * 3
    assert len(re.findall(r'val epoch \d: mIoU \d+\.\d\d \(best \d+\.\d\d, epoch \d\)  \S.*$', text, re.MULTILINE)) == 3
    assert 'IoU/Sky' not in text
    assert {'train/loss', 'train/lr', 'train/time', 'epoch', 'iter'} <= set(scalars[0])
    assert 'val/IoU/Sky' in scalars[3], 'loggers get everything'


def test_a_long_run_states_its_duration(small_config, monkeypatch):
    text, _ = run(small_config)
    assert 'Expected duration' not in text
    monkeypatch.setattr('mmseg_erfnet.engine.hooks.progress_bar.MEASURED', 0.0)
    monkeypatch.setattr('mmseg_erfnet.engine.hooks.progress_bar.LONG', 0.0)
    text, _ = run(small_config)
    assert re.findall(r'Expected duration .*', text) == [
        'Expected duration on this machine: about 0 minutes, plus 3 validations.'
    ]


def test_runs_of_one_second_have_logs_of_their_own(small_config, monkeypatch):
    monkeypatch.setattr('mmengine.runner.runner.time.time', lambda: 1e9)
    runners = [kind.from_cfg(small_config('erfnet_camvid')) for kind in (Runner, SafeRunner, SafeRunner)]
    for number, runner in enumerate(runners):
        runner.logger.info(f'run {number}')
    assert [re.findall(r'run \d$', Path(runner.logger.log_file).read_text(), re.MULTILINE) for runner in runners] == [
        ['run 0'],
        ['run 1'],
        ['run 2'],
    ]


def test_iterations(small_config):
    loop = dict(type='IterBasedTrainLoop', max_iters=8, val_interval=6, _delete_=True)
    text, _ = run(
        small_config,
        train_cfg=loop,
        **{
            'log_processor.by_epoch': False,
            'default_hooks.checkpoint.by_epoch': False,
            'default_hooks.logger.log_metric_by_epoch': False,
            'train_dataloader.dataset.indices': 8,
            'train_dataloader.sampler.type': 'InfiniteSampler',
        },
    )
    assert re.search(
        r'iteration 7/8 \(epoch 3\.5\)  loss \S+  lr \S+  \S+ img/s  best mIoU \S+  \S+ left$', text, re.MULTILINE
    )


@pytest.mark.parametrize('columns', [200, 60])
def test_a_terminal_has_a_bar_instead_of_the_lines(columns, small_config, monkeypatch):
    monkeypatch.setenv('COLUMNS', str(columns))
    terminal = Terminal()
    text, _ = run(small_config, terminal, **{'train_cfg.max_epochs': 2})
    written = terminal.getvalue()
    assert re.search(LINE, text, re.MULTILINE), 'the file has its lines'
    bars = [part for part in re.split('\r|\n', written) if part.startswith('\x1b[K') and 'epoch 2/2' in part]
    assert len(bars) == 4, 'three, and the line that stays'
    assert bars[3].startswith('\x1b[Kepoch 2/2 ')
    assert '\x1b[Kval epoch 2: mIoU ' in written, 'without a prefix'
    assert all(
        line.endswith(('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')) for line in re.findall('val epoch.*', written)
    )
    assert all(len(bar.removeprefix('\x1b[K')) < columns for bar in bars), 'else it would wrap'
    if columns == 200:
        assert '|=============       | epoch 2/2 [2/3]  loss' in bars[1]
        assert 'left' in bars[1]
    assert 'INFO' in written, 'other messages remain'
    assert not re.search(r'INFO\S* - epoch', written)
    assert written.endswith('\r')


def test_no_terminal_no_bar(small_config):
    stream = io.StringIO()
    run(small_config, stream, **{'train_cfg.max_epochs': 2})
    text = stream.getvalue()
    assert '\r' not in text
    lines = [line.partition('INFO')[2] for line in text.splitlines() if ' epoch ' in line]
    assert [re.sub(r'^\S* - (val )?epoch (\d).*', r'\1\2', line) for line in lines] == ['1', 'val 1', '2', 'val 2']
    assert 'Saving checkpoint' not in text


def test_a_console_without_a_terminal_is_not_silent_for_long(small_config, monkeypatch):
    monkeypatch.setattr('mmseg_erfnet.engine.hooks.progress_bar.PATIENCE', 0)
    stream = io.StringIO()
    run(small_config, stream, **{'train_cfg.max_epochs': 1})
    assert re.search(r'INFO\S* - epoch 1/1 \[2/3\]', stream.getvalue())


def test_the_best_is_by_the_metric_that_chooses(small_config):
    text, _ = run(
        small_config,
        **{'default_hooks.checkpoint.save_best': 'aAcc', 'val_evaluator.with_loss': True},
    )
    assert re.search(r'val epoch 3: aAcc \d+\.\d\d \(best \d+\.\d\d, epoch \d\)  loss \d\.\d{4}  ', text)
    assert re.search(r'epoch 3/3 .* best aAcc \d', text)


def test_details_go_to_the_file_alone(small_config, tmp_path, capsys):
    cfg = small_config('erfnet_camvid', tmp_path)
    cfg.custom_hooks = [dict(type=f'mmseg_erfnet.{name}') for name in ('CurvesHook', 'ClassTableHook')]
    train(cfg, epochs=1)
    printed = capsys.readouterr().out
    [log] = tmp_path.glob('*/*.log')
    assert str(log) in printed
    assert 'images per iteration' in printed, 'what concerns the user is there'
    assert '| Road ' in printed
    assert len(printed.splitlines()) < 60
    for detail in ('System environment', 'default_scope = ', 'SafeCheckpointHook', 'paramwise_options'):
        assert detail in log.read_text()
        assert detail not in printed
