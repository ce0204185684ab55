"""Lists of classes: each form that tools write, and whatever else may be in such a file."""

import random

import pytest
from helpers.fuzz import mutated

from mmseg_erfnet.datasets import classes, split_lists
from mmseg_erfnet.datasets.classes import Classes, parse_label_colours, parse_labelmap, parse_names, parse_table
from mmseg_erfnet.errors import DataError, UserError

PARSERS = (parse_table, parse_labelmap, parse_label_colours, parse_names)


@pytest.mark.parametrize(
    ('parse', 'text', 'expected'),
    [
        (parse_table, 'name,r,g,b\nroad,1,2,3\nsky,4,5,6\n', Classes(('road', 'sky'), ((1, 2, 3), (4, 5, 6)))),
        (parse_table, 'Pixel Value, Class\n0, background\n3, car\n', Classes(('background', 'car'), None, (0, 3))),
        (parse_table, '\r\n"a, b",0\r\n', None),
        (parse_table, 'id;name\n', None),
        (
            parse_labelmap,
            '# label:color_rgb:parts:actions\nbackground:0,0,0::\na:b:9,8,7::\n',
            Classes(('background', 'a:b'), ((0, 0, 0), (9, 8, 7))),
        ),
        (
            parse_label_colours,
            '64 128 64\t\tAnimal\n0 0 0 Traffic light\n',
            Classes(('Animal', 'Traffic light'), ((64, 128, 64), (0, 0, 0))),
        ),
        (parse_label_colours, 'Void\nAnimal\n', Classes(('Void', 'Animal'))),
        (parse_names, '__ignore__\n_background_\ncar\n', Classes(('_background_', 'car'))),
        (parse_names, 'Animal\n\nArchway', Classes(('Animal', 'Archway'))),
    ],
)
def test_forms(parse, text, expected):
    if expected is None:
        with pytest.raises(DataError):
            parse(text, 'list')
    else:
        assert parse(text, 'list') == expected


@pytest.mark.parametrize(
    ('parse', 'text', 'said'),
    [
        (parse_table, 'r,g,b\n1,2,3\n', 'list has no column of names'),
        (parse_table, 'name,r,g,b\nroad,1,2\n', 'list, row 2, has 3 of 4 columns'),
        (parse_table, 'name,r,g,b\nroad,1,2,x\n', "list, row 2: 'x' is not a whole number from 0 to 255"),
        (parse_table, 'name,value\nroad,300\n', 'list, row 2: 300 is not a whole number from 0 to 255'),
        (parse_table, 'name,value\nroad,1\nsky,1\n', r'list has values that stand for two classes \(1\)'),
        (parse_table, 'name,r,g,b\na,1,1,1\nb,1,1,1\n', r'list has colours that stand for two classes'),
        (parse_names, 'car\ncar\n', r'list has names that stand for two classes \(car\)'),
        (parse_names, '', 'list names 0 classes; 1 to 254'),
        (parse_names, '\n'.join(map(str, range(255))), 'list names 255 classes'),
        (parse_labelmap, 'road 1 2 3\n', 'list, line 1, is not of the form name:r,g,b:parts:actions'),
        (parse_label_colours, '1 2 3 road\nsky\n', 'list, line 2, is not of the form r g b name'),
    ],
)
def test_faults_are_named(parse, text, said):
    with pytest.raises(DataError, match=said):
        parse(text, 'list')


def test_a_written_list_is_read_again():
    written = Classes(('a, "b"', 'ünï', 'c'), ((1, 2, 3), (4, 5, 6), (7, 8, 9)))
    assert parse_table(classes.table_text(written), 'x') == written
    unpainted = parse_table(classes.table_text(Classes(('a', 'b'))), 'x')
    assert unpainted.colours == ((0, 0, 0), (128, 0, 0))  # Pascal VOC's first two


def test_fuzz():
    """Mutated lists end in classes or in an error of the project's own."""
    chance = random.Random(0)
    seeds = [
        b'name,r,g,b\nroad,1,2,3\nsky,4,5,6\n',
        b'Pixel Value, Class\n0, background\n1, car\n',
        b'# label:color_rgb:parts:actions\nbackground:0,0,0::\ncar:9,8,7::\n',
        b'64 128 64\t\tAnimal\n0 0 0 Void\n',
        '\ufeff__ignore__\n_background_\ncar\n'.encode(),
        'name,value\na,0\nb,255\n'.encode('utf-16'),
    ]
    for _ in range(3000):
        data = mutated(chance.choice(seeds), chance)
        for parse in PARSERS:
            try:
                found = parse(split_lists.decode_text(data, 'list'), 'list')
            except UserError:
                continue
            assert 1 <= len(found.names) <= 254
            assert all(name and name.isprintable() for name in found.names)
