"""The report of a dataset: its images, its class frequencies, and the results of the training pipeline."""

import random
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmseg.datasets import BaseSegDataset

from mmseg_erfnet.datasets.building import build_dataset
from mmseg_erfnet.datasets.pipelines import evenly_spaced
from mmseg_erfnet.datasets.statistics import LabelStatistics, class_weights, label_statistics, median_frequency_weights
from mmseg_erfnet.datasets.wrappers import frames_of, inner_configs, inner_datasets
from mmseg_erfnet.errors import DataError, UsageError
from mmseg_erfnet.files import check_targets, write_bytes, write_text
from mmseg_erfnet.reports.page import Report, is_report, jpeg
from mmseg_erfnet.text import listed
from mmseg_erfnet.visualization.charts import NARROW, WIDTH, class_bars, png, share_violins, weight_bars
from mmseg_erfnet.visualization.painting import colour_map, legend, overlay, panel

GAP = 4
WIDTHS = WIDTH, NARROW  # of charts in inches: for desktops, for phones
FORMULAS = {
    'log': "1 / ln({c:g} + p), where p is a class's share of the pixels (ENet)",
    'median': "median(f) / f, where f is a class's share of the pixels of the images in which it occurs; 1 if in none",
}
FRAGMENT = """# {formula}
# over the {images} training images of {config}. Written by tools/dataset_report.py.
# As a base: model = dict(decode_head=dict(loss_decode=dict(class_weight=list(_base_.class_weights.values()))))
class_weights = {{
{lines}
}}
"""
WEIGHTS_MARK = b'Written by tools/dataset_report.py'
PICTURES = (
    'samples.jpg',
    'augmentations.jpg',
    'distribution.png',
    'pixels.png',
    'images.png',
    'weights.png',
)


def write_dataset_report(
    cfg: Config,
    out: Path,
    samples: int = 12,
    augmented: int = 4,
    variants: int = 4,
    seed: int = 0,
    workers: int | None = None,
    c: float = 1.1,
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Count a config's labels, and draw statistics, samples and augmentations.

    Writes into ``out``: ``report.html``; its pictures as ``*.png`` and ``*.jpg``; ``class_weights_log.py`` and
    ``class_weights_median.py``, which a config can use as bases.

    Args:
        cfg: A config with a ``train_dataloader``; if it has those of val and test, their classes are counted, too.
        out: The folder.
        samples: Number of images in the contact sheet.
        augmented: Number of images in the sheet of augmentations.
        variants: Number of augmentations per image.
        seed: Seed of the augmentations shown.
        workers: Threads that read labels; one per core if None.
        c: The c of the weights 1 / ln(c + p).

    Returns:
        The names of the classes, and their weights, float64 of shape (classes,), by kind: 'log' and 'median'.

    Raises:
        UsageError: The config has no training data, its pipeline loads no labels, or ``out`` has a file of one of these
            names that no report wrote.
        DataError: The training data are invalid.
    """
    if cfg.get('train_dataloader') is None:
        raise UsageError('the config has no train_dataloader; there is no training set to report on.')
    _check_folder(out)
    train = build_dataset(cfg, 'train')
    statistics, missing = _count(cfg, train, workers)
    counted = statistics['train']
    if not counted.pixels.sum():
        raise DataError(
            f'None of the {counted.num_images} training images has a labelled pixel; check ann_file, and the values or '
            'colours of the labels.'
        )
    weights = {'log': class_weights(counted.pixels, c), 'median': median_frequency_weights(counted)}
    name = Path(cfg.filename).name if cfg.filename else 'a config'

    page = _DatasetPage(name, train, counted, out)
    page.add_images(samples)
    page.add_augmentations(augmented, variants, seed)
    page.add_classes()
    page.add_splits(statistics, missing)
    page.add_weights(weights, {kind: formula.format(c=c) for kind, formula in FORMULAS.items()})
    page.report.write(out / 'report.html')
    return page.classes, weights


def _check_folder(out: Path) -> None:
    """Refuse a folder in which a file would be replaced that is not a report's."""
    page, weights = out / 'report.html', [out / f'class_weights_{kind}.py' for kind in FORMULAS]
    reported = page.is_file() and is_report(page)
    check_targets([page], ours=is_report)
    check_targets([out / name for name in PICTURES], ours=lambda path: reported)
    check_targets(weights, ours=lambda path: path.is_file() and WEIGHTS_MARK in path.read_bytes())


def _count(
    cfg: Config, train: BaseSegDataset, workers: int | None
) -> tuple[dict[str, LabelStatistics], dict[str, str]]:
    """Count the labels of each split; return the counts, and the reasons why splits cannot be read."""
    statistics, missing = {'train': label_statistics(train, workers)}, {}
    for split in ('val', 'test'):
        try:
            other = _other(cfg, split)
            if other is not None:
                statistics[split] = label_statistics(other, workers)
        except DataError as error:
            missing[split] = str(error)
    return statistics, missing


class _DatasetPage:
    """The sections of a dataset's report, from top to bottom."""

    def __init__(self, name: str, train: BaseSegDataset, counted: LabelStatistics, out: Path) -> None:
        self.name, self.train, self.counted, self.out = name, train, counted, out
        self.classes, self.palette = tuple(train.metainfo['classes']), train.metainfo['palette']
        self.present = np.flatnonzero(counted.images)
        self.names = [self.classes[index] for index in self.present]
        self.colours = [self.palette[index] for index in self.present]
        inner = inner_datasets(train)
        source = listed((part.ann_file or part.data_prefix['img_path'] for part in inner), 3)
        kinds = dict.fromkeys(type(part).__name__ for part in (train, *inner))
        self.report = Report(f'Data of {name}', f'{" of ".join(kinds)}, {source}')

    def show(
        self, file: str, picture: Figure | np.ndarray, caption: str, narrow: Figure | np.ndarray | None = None
    ) -> None:
        """Write a picture as a file, and add it to the page, optionally with another one for phones."""
        data = png(picture) if isinstance(picture, Figure) else jpeg(picture)
        write_bytes(self.out / file, data)
        self.report.picture(data, caption, narrow)

    def _indices(self, number: int) -> list[int]:
        return evenly_spaced(len(frames_of(self.train)), number)

    def add_images(self, samples: int) -> None:
        """Add the numbers of images and sizes, and a contact sheet."""
        counted = self.counted
        self.report.section('Images')
        self.report.highlights(
            {
                'training images': str(counted.num_images),
                'classes': str(len(self.classes)),
                'ignored pixels': f'{100 * counted.ignored / max(counted.ignored + counted.pixels.sum(), 1):.2f} %',
            }
        )
        indices = self._indices(samples)
        self.show(
            'samples.jpg',
            contact_sheet(self.train, indices),
            'Evenly spaced training images, overlaid with their labels.',
            contact_sheet(self.train, indices, columns=2, width=240),
        )
        self.report.table(
            [(f'{height} x {width}', number) for (height, width), number in sorted(counted.sizes.items())],
            ('size (height x width)', 'images'),
        )

    def add_classes(self) -> None:
        """Add the shares of the classes."""
        counted, present = self.counted, self.present
        self.report.section('Classes')
        if len(present) < len(self.classes):
            absent = ', '.join(_absent(counted))
            self.report.text(f'Left out of the charts, because no training image contains them: {absent}.')
        charts = [share_violins(counted.counts[:, present], self.names, self.colours, width) for width in WIDTHS]
        self.show('distribution.png', charts[0], 'Share of each class in the images in which it occurs.', charts[1])
        shares = (100 * counted.pixels / counted.pixels.sum())[present]
        label = 'share of all labelled pixels in % (log scale)'
        charts = [class_bars(shares, self.names, self.colours, label, 3, log=True, width=width) for width in WIDTHS]
        self.show('pixels.png', charts[0], 'Pixels of each class.', charts[1])
        label, images = 'images in which the class occurs', counted.images[present]
        charts = [class_bars(images, self.names, self.colours, label, 0, width=width) for width in WIDTHS]
        self.show('images.png', charts[0], f'Images with each class, out of {counted.num_images}.', charts[1])

    def add_splits(self, statistics: dict[str, LabelStatistics], missing: dict[str, str]) -> None:
        """Add the classes in each split."""
        self.report.section('Splits')
        self.report.table(
            [(f'absent from {split}', ', '.join(_absent(found)) or 'none') for split, found in statistics.items()]
            + [(f'{split} not counted', reason) for split, reason in missing.items()]
        )
        self.report.table(
            zip(self.classes, *(found.images.tolist() for found in statistics.values()), strict=True),
            ('class', *(f'images of {found.num_images} in {split}' for split, found in statistics.items())),
        )

    def add_weights(self, weights: dict[str, np.ndarray], formulas: dict[str, str]) -> None:
        """Add the class weights, also as files that a config can use as bases."""
        self.report.section('Class weights')
        kinds = [formula.split(',')[0] for formula in formulas.values()]
        charted = [values[self.present] for values in weights.values()]
        charts = [weight_bars(dict(zip(kinds, charted, strict=True)), self.names, width) for width in WIDTHS]
        self.show('weights.png', charts[0], 'Both kinds of weights, each relative to its mean.', charts[1])
        columns = (values.tolist() for values in weights.values())
        self.report.table(zip(self.classes, *columns, strict=True), ('class', *kinds))
        for kind, values in weights.items():
            text = FRAGMENT.format(
                formula=formulas[kind],
                images=self.counted.num_images,
                config=self.name,
                lines='\n'.join(
                    f'    {name!r}: {value:.6g},' for name, value in zip(self.classes, values, strict=True)
                ),
            )
            write_text(self.out / f'class_weights_{kind}.py', text)
            self.report.listing(f'class_weights_{kind}.py, for the _base_ list of a config', text)

    def add_augmentations(self, augmented: int, variants: int, seed: int) -> None:
        """Add a sheet of augmented images."""
        self.report.section('Augmentations')
        indices = self._indices(augmented)
        caption = 'Left: the image and its labels. Right: random results of the training pipeline. Ignored pixels are '
        self.show(
            'augmentations.jpg',
            augmentation_sheet(self.train, indices, variants, seed),
            caption + 'white.',
            augmentation_sheet(self.train, indices, min(variants, 1), seed),
        )


def _other(cfg: Config, split: str) -> BaseSegDataset | None:
    """The dataset of a split, or None if there is none or it is the same as that of an earlier split."""
    keys = ('type', 'data_root', 'ann_file', 'data_prefix')
    splits = [name for name in ('train', 'val', 'test') if cfg.get(f'{name}_dataloader')]
    if split not in splits:
        return None
    inner = [inner_configs(cfg[f'{name}_dataloader'].dataset) for name in splits]
    places = [[tuple(str(part.get(key)) for key in keys) for part in parts] for parts in inner]
    place = splits.index(split)
    return None if places[place] in places[:place] else build_dataset(cfg, split)


def _absent(statistics: LabelStatistics) -> list[str]:
    return [name for name, images in zip(statistics.classes, statistics.images, strict=True) if not images]


def contact_sheet(dataset: BaseSegDataset, indices: list[int], columns: int = 4, width: int = 320) -> np.ndarray:
    """Draw images overlaid with their labels, each under its name, and a legend.

    Args:
        dataset: The dataset.
        indices: Indices of the images.
        columns: Images per row.
        width: Width of an image in pixels.

    Returns:
        BGR picture, uint8 (H, W, 3).
    """
    palette = dataset.metainfo['palette']
    frames = [_raw(dataset, index, width) for index in indices]
    cells = [
        panel({_stem(dataset, index): overlay(*frame, palette, 0.5)})
        for index, frame in zip(indices, frames, strict=True)
    ]
    return _sheet([cells[place : place + columns] for place in range(0, len(cells), columns)], frames, dataset)


def augmentation_sheet(
    dataset: BaseSegDataset, indices: list[int], variants: int, seed: int = 0, width: int = 256
) -> np.ndarray:
    """Draw images and results of the dataset's pipeline: a row of images above a row of their labels.

    Args:
        dataset: The dataset.
        indices: Indices of the images.
        variants: Number of passes of each image through the pipeline.
        seed: Seed of the global generators of random, numpy and torch.
        width: Width of an image in pixels.

    Returns:
        BGR picture, uint8 (H, W, 3).
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    palette = dataset.metainfo['palette']
    rows, frames = [], []
    for index in indices:
        frame = [_raw(dataset, index, width)] + [_augmented(dataset, index, width) for _ in range(variants)]
        rows += [[image for image, _ in frame], [colour_map(labels, palette) for _, labels in frame]]
        frames += frame
    titles = ['as stored'] + ['augmented'] * variants
    rows[0] = [panel({title: cell}) for title, cell in zip(titles, rows[0], strict=True)]
    return _sheet(rows, frames, dataset)


def _stem(dataset: BaseSegDataset, index: int) -> str:
    inner, place = frames_of(dataset)[index]
    return Path(inner.get_data_info(place)['img_path']).stem


def _raw(dataset: BaseSegDataset, index: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The image and labels as stored: the output of the pipeline's loading transforms."""
    inner, place = frames_of(dataset)[index]
    results = inner.get_data_info(place)
    for transform in inner.pipeline.transforms:
        if 'img' in results and 'gt_seg_map' in results:
            break
        results = transform(results)
    return _shrink(results['img'], results['gt_seg_map'], width)


def _augmented(dataset: BaseSegDataset, index: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    inner, place = frames_of(dataset)[index]
    packed = inner[place]
    image = packed['inputs'].permute(1, 2, 0).numpy()
    return _shrink(image, packed['data_samples'].gt_sem_seg.data[0].numpy().astype(np.uint8), width)


def _shrink(image: np.ndarray, labels: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    size = width, round(labels.shape[0] * width / labels.shape[1])
    return (
        cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA),
        cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT),
    )


def _sheet(rows: list[list[np.ndarray]], frames: list[tuple], dataset: BaseSegDataset) -> np.ndarray:
    """Arrange cells in rows, each as high as its highest cell, above a legend of the classes in the frames' labels."""
    bands = []
    for row in rows:
        height = max(cell.shape[0] for cell in row)
        bands.append(np.hstack([_pad(cell, height + GAP, cell.shape[1] + GAP) for cell in row]))
    width = max(band.shape[1] for band in bands)
    bands = [_pad(band, band.shape[0], width) for band in bands]
    present = sorted(set().union(*(np.unique(labels).tolist() for _, labels in frames)) - {255})
    meta = dataset.metainfo
    return np.vstack([*bands, legend(present, meta['classes'], meta['palette'], width)])


def _pad(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    below, right = height - picture.shape[0], width - picture.shape[1]
    return cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(255, 255, 255))
