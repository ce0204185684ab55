import json
import os
import re

import cv2
import numpy as np
import pytest
from helpers.browser import visit
from helpers.tools import run_tool

from mmseg_erfnet.errors import StorageError, UsageError
from mmseg_erfnet.evaluation.scores import scores
from mmseg_erfnet.reports import page as page_module
from mmseg_erfnet.reports.page import jpeg
from mmseg_erfnet.reports.run import EXAMPLES, write_examples, write_run_report
from mmseg_erfnet.visualization.animation import animate


def write_test(work_dir, count: int, absent: int = 2) -> list[str]:
    """What a test leaves in a work dir: `count` classes, of which the last `absent` are nowhere."""
    classes = [f'class {index} <{"x" * (index % 9)}>' for index in range(count)]
    palette = [[index * 7 % 256, 255 - index * 7, 60] for index in range(count)]
    random = np.random.default_rng(0)
    confusion = random.integers(0, 50, (count, count)) + 500 * np.eye(count, dtype=int)
    confusion[count - absent :] = confusion[:, count - absent :] = 0
    metrics = scores(confusion)
    per_class = {
        name: dict(IoU=None if np.isnan(iou) else iou, Acc=None if np.isnan(acc) else acc)
        for name, iou, acc in zip(classes, metrics.pop('IoU'), metrics.pop('Acc'), strict=True)
    }
    (work_dir / 'metrics.json').write_text(
        json.dumps(
            dict(
                metrics,
                per_class=per_class,
                confusion_matrix=confusion.tolist(),
                classes=classes,
                palette=palette,
                images=7,
                size=[60, 80],
                tta=dict(flip=True, scales=[1.0]),
                dataset='SomeDataset',
                split='splits/test.txt',
                checkpoint='best.pth',
            )
        )
    )
    ground_truth = np.full((60, 80), 255, np.uint8)
    ground_truth[10:50] = random.integers(0, count, (40, 80))
    examples = [
        dict(
            kind=kind,
            name=f'frame_{kind}',
            mIoU=12.345,
            aAcc=50.0,
            prediction=ground_truth % count,
            ground_truth=ground_truth,
            image=random.integers(0, 256, (120, 160, 3), dtype=np.uint8),
        )
        for kind in ('best', 'worst')
    ]
    write_examples(work_dir / EXAMPLES, examples, classes, palette)
    return classes


def write_timelapse(work_dir) -> None:
    (work_dir / 'timelapse').mkdir()
    pictures = [np.full((40, 400, 3), value, np.uint8) for value in (0, 90)]
    for split in ('train', 'val'):
        (work_dir / 'timelapse' / f'{split}.gif').write_bytes(animate(pictures, [[1, 2, 3]]))


def write_training(work_dir) -> None:
    folder = work_dir / '20260101_000000' / 'vis_data'
    folder.mkdir(parents=True)
    lines = [
        {'train/lr': 0.1, 'train/loss': 2.0, 'epoch': 1, 'iter': 3},
        {'val/mIoU': 41.5, 'val/IoU/car': 60.0, 'step': 1},
    ]
    (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)))
    (folder / 'config.py').write_text('lr = 0.1  # if a < b')
    (folder.parent / 'environment.json').write_text(json.dumps({'torch': '1.2.3', 'validated on': 'Set, splits/v.txt'}))


@pytest.mark.parametrize(('count', 'width'), [(3, 390), (11, 1300), (32, 390), (32, 1300)])
def test_opens_in_a_browser(count, width, tmp_path):
    write_test(tmp_path, count)
    write_training(tmp_path)
    write_timelapse(tmp_path)
    found = visit(write_run_report(tmp_path), tmp_path, width)
    assert found == (13, 0, found.overflow, [], []), 'bars, confusion, two examples of 4 panels, timelapses, curves'
    assert found.overflow <= 0


def test_says_what_was_scored_and_how(tmp_path):
    write_test(tmp_path, 11)
    write_training(tmp_path)
    page = write_run_report(tmp_path, tmp_path / 'elsewhere' / 'page.html').read_text()
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert f'<dd>{metrics["mIoU"]:.2f} %</dd>' in page
    for words in (
        'mean over the 9 classes',
        'over all 11 classes',
        'SomeDataset',
        'splits/test.txt',
        'best.pth',
        '60 x 80 (height x width)',
        'flip, scales 1.0',
        'best: frame_best, mIoU 12.3 %, pixel accuracy 50.0 %',
        'lr = 0.1  # if a &lt; b',
        '<td>1.2.3</td>',
        'of the training run begun 20260101_000000',
        'without an IoU: class 9 &lt;&gt;, class 10 &lt;x&gt;.',
    ):
        assert words in page


def test_training_without_a_test(tmp_path):
    write_training(tmp_path)
    page = write_run_report(tmp_path).read_text()
    assert 'best mIoU on val, epoch 1' in page
    assert '41.50 %' in page
    assert page.index('41.50 %') < page.index('Set, splits/v.txt') < page.index('IoU of each class')
    assert 'IoU of each class in that validation.' in page
    assert 'No checkpoint has been tested yet' in page


def test_a_test_without_training(tmp_path):
    write_test(tmp_path, 11)
    page = write_run_report(tmp_path).read_text()
    assert 'Training</h2>' not in page


def test_a_test_older_than_the_training(tmp_path):
    write_training(tmp_path)
    write_test(tmp_path, 3)
    assert 'Training has continued since' not in write_run_report(tmp_path).read_text()
    os.utime(tmp_path / 'metrics.json', (0, 0))
    assert 'Training has continued since' in write_run_report(tmp_path).read_text()


def test_a_test_where_nothing_was_labelled(tmp_path):
    write_test(tmp_path, 3, absent=3)
    assert 'No pixel was scored.' in write_run_report(tmp_path).read_text()


def test_examples_replace_those_of_an_earlier_test(tmp_path):
    write_test(tmp_path, 3)
    index = tmp_path / EXAMPLES / 'index.json'
    index.write_text(json.dumps([*json.loads(index.read_text()), dict(panels=[['input', 'old.jpg']])]))
    (tmp_path / EXAMPLES / 'old.jpg').touch()
    write_test(tmp_path, 3)
    panels = ('errors', 'ground', 'input', 'prediction')
    assert sorted(path.name for path in (tmp_path / EXAMPLES).iterdir()) == [
        *(f'01_best_frame_best_{panel}.jpg' for panel in panels),
        *(f'02_worst_frame_worst_{panel}.jpg' for panel in panels),
        'index.json',
    ]


def test_pictures_that_no_test_has_written_are_never_removed(tmp_path):
    (tmp_path / EXAMPLES).mkdir()
    (tmp_path / EXAMPLES / 'own.jpg').touch()
    for _ in range(2):
        write_test(tmp_path, 3)
    assert (tmp_path / EXAMPLES / 'own.jpg').exists()


def test_an_image_of_a_long_name_has_examples(tmp_path):
    image, labels = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)
    example = dict(kind='best', name='ä' * 125, mIoU=1.0, aAcc=2.0, image=image, prediction=labels, ground_truth=labels)
    write_examples(tmp_path, [example], ['a'], [[1, 2, 3]])
    assert len(list(tmp_path.glob('*.jpg'))) == 4


def test_pictures_come_first(tmp_path):
    write_test(tmp_path, 11)
    write_training(tmp_path)
    write_timelapse(tmp_path)
    page = write_run_report(tmp_path).read_text()
    headings = re.findall(r'<h2 id="([^"]+)"', page)
    assert headings == [
        'best-and-worst-images',
        'timelapse-of-predictions',
        'training',
        'classes',
        'confusion',
        'how-it-was-scored',
        'setting',
    ]
    assert page.count('src="data:image/gif;base64,') == 2
    assert 'class 1 &lt;x&gt;</li>' in page, 'the legend of an example'


def test_a_folder_without_a_run_is_an_error(tmp_path):
    with pytest.raises(UsageError, match=r'neither metrics\.json nor the logs of a run'):
        write_run_report(tmp_path)


@pytest.fixture
def quick_charts(monkeypatch):
    """Make charts, but do not render them, which takes most of a report's time."""
    picture = cv2.imencode('.png', np.zeros((2, 2, 3), np.uint8))[1].tobytes()
    monkeypatch.setattr(page_module, 'png', lambda figure: picture)


SECRET = 'the words of another file'
DEEP = '[' * 100_000
METRICS = [
    '',
    '{',
    '[]',
    'null',
    '3',
    DEEP,
    '{"classes": ["a"]}',
    dict(classes=None),
    dict(classes=3),
    dict(classes=[]),
    dict(classes=['a'] * 3, per_class={}),
    dict(per_class=[]),
    dict(per_class={'a': 3}),
    dict(confusion_matrix=[[1]]),
    dict(confusion_matrix='no'),
    dict(confusion_matrix=[[-1] * 3] * 3),
    dict(confusion_matrix=[[10**400] * 3] * 3),
    dict(palette='no'),
    dict(palette=[[1]]),
    dict(palette=[[300, -5, 0]] * 3),
    dict(mIoU='high', aAcc=[], mAcc={}),
    dict(size='large'),
    dict(size=3),
    dict(tta=[1]),
    dict(tta=dict(flip=True)),
    dict(images=None, dataset=[], checkpoint={}),
]


@pytest.mark.parametrize('damage', METRICS, ids=lambda damage: str(damage)[:40])
def test_damaged_metrics_leave_the_rest(damage, tmp_path, quick_charts):
    write_test(tmp_path, 3, absent=0)
    write_training(tmp_path)
    path = tmp_path / 'metrics.json'
    text = damage if isinstance(damage, str) else json.dumps(json.loads(path.read_text()) | damage)
    path.write_text(text)
    page = write_run_report(tmp_path).read_text()
    assert page.endswith('</html>\n')
    assert 'Loss, mIoU and learning rate' in page
    assert page.count('data:image/jpeg') == 8
    assert 'lr = 0.1' in page
    if 'palette' not in str(damage) and 'images' not in str(damage):
        assert ' is not shown: ' in page


INDEXES = [
    '',
    '{}',
    DEEP,
    '[3]',
    '[{}]',
    '[null, [], "text"]',
    '[{"kind": "best", "name": "a", "mIoU": "much", "aAcc": 1, "file": "x.jpg"}]',
    *(
        json.dumps([dict(kind='best', name='a', mIoU=1.0, aAcc=2.0, file=file)])
        for file in (
            '../secret.jpg',
            '../../secret.txt',
            '/etc/passwd',
            'missing.jpg',
            'link.jpg',
            'inner/secret.jpg',
            'text.jpg',
            'pipe.jpg',
            'folder',
            '..',
            '',
            'a\0b',
            None,
            3,
            ['x'],
            'x' * 300,
            'C:\\secret.jpg',
        )
    ),
    json.dumps([dict(kind='best', name='a', mIoU=1.0, aAcc=2.0, panels=[['input', '../secret.jpg']])]),
    json.dumps([dict(kind='best', name='a', mIoU=1.0, aAcc=2.0, panels='abc')]),
    json.dumps([dict(kind='best', name='a', mIoU=1.0, aAcc=2.0, panels=3, legend=3)]),
]


@pytest.mark.parametrize('index', INDEXES, ids=lambda index: index[:90])
def test_an_index_of_examples_embeds_nothing_else(index, tmp_path, quick_charts):
    work_dir = tmp_path / 'run'
    (work_dir / EXAMPLES / 'folder').mkdir(parents=True)
    (work_dir / EXAMPLES / 'inner').mkdir()
    write_training(work_dir)
    secret = jpeg(np.zeros((8, 8, 3), np.uint8)) + SECRET.encode()
    for path in (work_dir / 'secret.jpg', tmp_path / 'secret.txt', work_dir / EXAMPLES / 'inner' / 'secret.jpg'):
        path.write_bytes(secret)
    (work_dir / EXAMPLES / 'link.jpg').symlink_to(tmp_path / 'secret.txt')
    (work_dir / EXAMPLES / 'text.jpg').write_text(SECRET)
    os.mkfifo(work_dir / EXAMPLES / 'pipe.jpg')
    (work_dir / EXAMPLES / 'index.json').write_text(index)
    page = write_run_report(work_dir).read_text()
    assert ' is not shown: ' in page
    assert 'data:image/jpeg' not in page
    assert 'Loss, mIoU and learning rate' in page


@pytest.mark.parametrize(
    'name', ['metrics.json', '20260101_000000/environment.json', '20260101_000000/vis_data/config.py']
)
def test_a_link_out_of_the_work_dir_is_not_followed(name, tmp_path, quick_charts):
    work_dir = tmp_path / 'run'
    work_dir.mkdir()
    write_training(work_dir)
    (tmp_path / 'secret').write_text(json.dumps({'the secret': SECRET}))
    (work_dir / name).unlink(missing_ok=True)
    (work_dir / name).symlink_to(tmp_path / 'secret')
    page = write_run_report(work_dir).read_text()
    assert SECRET not in page
    assert ' is not shown: ' in page


@pytest.mark.parametrize(
    ('name', 'content'),
    [
        ('20260101_000000/environment.json', b'{'),
        ('20260101_000000/environment.json', b'[1]'),
        ('20260101_000000/environment.json', DEEP.encode()),
        ('20260101_000000/environment.json', b'{"torch": {"a": [1]}, "validated on": 3}'),
        ('20260101_000000/vis_data/config.py', b'\xff\xfe\x00'),
        ('20260101_000000/vis_data/config.py', b'x' * 3_000_000),
        ('timelapse/val.gif', b''),
        ('timelapse/val.gif', b'GIF89a'),
        ('timelapse/val.gif', b'\x00' * 100),
        *(
            (
                '20260101_000000/vis_data/scalars.json',
                b'{"train/lr": 1, "train/loss": 2, "epoch": 1, "step": 1}\n' + line,
            )
            for line in (
                b'\xff\xfe',
                b'3',
                b'[]',
                b'{"lr": 1}',
                b'{"lr": 1, "epoch": "a"}',
                b'{"lr": 1, "epoch": 1e999}',
                b'{"lr": null, "loss": "x", "epoch": 1}',
                b'{"mIoU": NaN, "step": 1}',
                b'{"mIoU": 1e999, "step": 1}',
                b'{"mIoU": "high", "step": 2}',
                b'{"mIoU": 1' + b'0' * 400 + b', "step": 2}',
                b'{"mIoU": 3, "step": 1' + b'0' * 400 + b'}',
                b'{"mIoU": 1, "IoU/a": NaN, "step": 2}',
                b'[' * 100_000,
                b'{"train/mIoU": true, "step": false}',
            )
        ),
    ],
    ids=lambda value: str(value)[-60:],
)
def test_whatever_else_is_damaged_leaves_the_rest(name, content, tmp_path, quick_charts):
    write_training(tmp_path)
    write_timelapse(tmp_path)
    (tmp_path / name).write_bytes(content)
    page = write_run_report(tmp_path).read_text()
    assert page.endswith('</html>\n')
    assert 'Loss, mIoU and learning rate' in page
    assert 'data:image/gif' in page


def test_what_waits_for_its_reader_is_not_read(tmp_path, quick_charts):
    write_test(tmp_path, 3)
    write_training(tmp_path)
    for path in list(tmp_path.rglob('*.json')) + list(tmp_path.rglob('*.py')):
        if path.name != 'metrics.json':
            path.unlink()
            os.mkfifo(path)
    assert 'IoU of each class' in write_run_report(tmp_path).read_text()


def test_out_replaces_reports_alone(tmp_path, quick_charts):
    write_training(tmp_path)
    for _ in range(2):
        write_run_report(tmp_path, tmp_path / 'page.html')
    scalars = tmp_path / '20260101_000000' / 'vis_data' / 'scalars.json'
    before = scalars.read_text()
    own = tmp_path / 'own.html'
    own.write_text('<!DOCTYPE html>\n<title>A page of the user</title>')
    for path in (scalars, own):
        with pytest.raises(UsageError, match='exists, and is not a result of an earlier run; choose another --out'):
            write_run_report(tmp_path, path)
    assert scalars.read_text() == before
    assert 'A page of the user' in own.read_text()
    with pytest.raises(StorageError, match='it is a folder'):
        write_run_report(tmp_path, tmp_path / '20260101_000000')


def test_the_tool_ends_in_a_sentence(tmp_path, capsys, quick_charts):
    assert 'name the work dir' in run_tool('report', tmp_path).sentence
    assert 'name the work dir' in run_tool('report', tmp_path / 'none').sentence
    write_training(tmp_path)
    assert run_tool('report', tmp_path).status == 0
    assert capsys.readouterr().out == f'{tmp_path / "report.html"}\n'
