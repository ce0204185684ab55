import json

import pytest

from mmseg_erfnet.reports.history import NUMBER_FILE, draw_curves, next_number, read_history, run_folders
from mmseg_erfnet.visualization.charts import png


def write_run(work_dir, name: str, lines: list[dict], tail: str = '') -> None:
    folder = work_dir / name / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text(''.join(f'{json.dumps(line)}\n' for line in lines) + tail)


def epochs(first: int, last: int, shift: float = 0) -> list[dict]:
    lines = []
    for epoch in range(first, last + 1):
        train = {'train/lr': 0.1 / epoch, 'epoch': epoch}
        lines += [
            dict(train, iter=2 * epoch - 1, **{'train/loss': 3 - epoch + shift}),
            dict(train, iter=2 * epoch, **{'train/loss': 2 - epoch + shift}),
            {'val/mIoU': 10 * epoch + shift, 'val/loss': 4.0 - epoch, 'step': epoch},
            {'train/mIoU': 11 * epoch, 'step': epoch},
        ]
    return lines


def lines_of(axes) -> dict:
    return {line.get_label(): list(zip(*line.get_data(), strict=True)) for line in axes.lines}


def test_a_run(tmp_path):
    write_run(tmp_path, '20260101_000000', epochs(1, 3))
    history = read_history(tmp_path)
    assert history.unit == 'epoch'
    assert history.best()['x'] == 3
    loss, score, rate = draw_curves(history).axes
    assert lines_of(loss) == {'train, while training': [(1, 1.5), (2, 0.5), (3, -0.5)], 'val': [(1, 3), (2, 2), (3, 1)]}
    assert lines_of(score)['train, without augmentation'] == [(1, 11), (2, 22), (3, 33)]
    assert lines_of(score)['best on val: 30.00, epoch 3'] == [(3, 30)]
    assert [value for _, value in next(iter(lines_of(rate).values()))] == pytest.approx([0.1, 0.05, 0.1 / 3])


def test_a_resumed_run_replaces_what_it_repeats(tmp_path):
    write_run(tmp_path, '20260101_000000', epochs(1, 4)[:-2], tail='{"val/mIoU": 4')
    write_run(tmp_path, '20260102_000000', epochs(3, 5, shift=0.5))
    history = read_history(tmp_path)
    assert [line['mIoU'] for line in history.val] == [10, 20, 30.5, 40.5, 50.5]
    assert [line['x'] for line in history.train] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_a_run_begun_anew_replaces_the_old_one(tmp_path):
    write_run(tmp_path, '20260101_000000', epochs(1, 4))
    write_run(tmp_path, '20260102_000000', epochs(1, 2, shift=0.5))
    assert [line['mIoU'] for line in read_history(tmp_path).val] == [10.5, 20.5]


def test_iterations_and_other_users_names(tmp_path):
    write_run(
        tmp_path,
        '20260101_000000',
        [
            {'lr': 0.1, 'loss': 2.0, 'iter': 50, 'step': 50},
            {'lr': 0.1, 'loss': 1.0, 'iter': 100, 'step': 100},
            {'mIoU': 12.0, 'step': 100},
        ],
    )
    history = read_history(tmp_path)
    assert history.unit == 'iteration'
    axes = draw_curves(history).axes
    assert lines_of(axes[0]) == {'train, while training': [(50, 2), (100, 1)]}
    assert axes[0].get_xlabel() == 'iteration'


def test_nothing_logged_is_said(tmp_path):
    figure = draw_curves(read_history(tmp_path))
    assert [axes.texts[0].get_text() for axes in figure.axes] == ['nothing logged yet'] * 3
    assert png(figure).startswith(b'\x89PNG')


@pytest.mark.parametrize('numbered', [False, True])
def test_a_clock_set_back_loses_no_epochs(tmp_path, numbered):
    """Resumed in the night in which summer time ends: the later run has the earlier name."""
    runs = {'20261025_025000': epochs(1, 4), '20261025_021000': epochs(5, 8), '20261025_033000': epochs(9, 10)}
    for number, (name, lines) in enumerate(runs.items(), 1):
        write_run(tmp_path, name, lines)
        if numbered:
            (tmp_path / name / NUMBER_FILE).write_text(str(number))
    history = read_history(tmp_path)
    assert [line['x'] for line in history.val] == list(range(1, 11))
    assert [line['x'] for line in history.train] == [epoch for epoch in range(1, 11) for _ in range(2)]
    assert [folder.name for folder in run_folders(tmp_path)] == list(runs)
    assert next_number(tmp_path) == 4


def test_numbers_tell_a_run_begun_anew_from_one_resumed(tmp_path):
    """By their names, the second run would be the last."""
    for number, (name, lines) in enumerate(
        [('20260103_000000', epochs(1, 4)), ('20260102_000000', epochs(1, 2, 0.5)), ('20260101_000000', epochs(3, 3))],
        1,
    ):
        write_run(tmp_path, name, lines)
        (tmp_path / name / NUMBER_FILE).write_text(str(number))
    assert [line['mIoU'] for line in read_history(tmp_path).val] == [10.5, 20.5, 30]


def test_iterations_in_a_clock_set_back(tmp_path):
    def lines(first, last):
        return [{'lr': 0.1, 'loss': 1.0, 'iter': step, 'step': step} for step in range(first, last + 1, 50)]

    write_run(tmp_path, '20261025_025000', lines(50, 4000))
    write_run(tmp_path, '20261025_021000', lines(4050, 8000))
    assert [line['x'] for line in read_history(tmp_path).train] == list(range(50, 8001, 50))


def test_damaged_lines_are_left_out(tmp_path):
    bad = '[1]\n"text"\n{"train/lr": "x", "epoch": 1}\n{"val/mIoU": 3.0}\n{"train/lr": 0.1}\n\x00\n'
    write_run(tmp_path, '20260101_000000', epochs(1, 2), tail=bad)
    (tmp_path / '20260101_000000' / NUMBER_FILE).write_text('no number')
    history = read_history(tmp_path)
    assert [line['x'] for line in history.val] == [1, 2]
    assert png(draw_curves(history)).startswith(b'\x89PNG')
