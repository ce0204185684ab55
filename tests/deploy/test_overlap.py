"""Calls that run side by side give their results in order, and do not run ahead of the consumer."""

import itertools
import threading

import pytest

from mmseg_erfnet.deploy.overlap import side_by_side


@pytest.mark.parametrize('number', [1, 2, 5])
def test_results_come_in_order_and_none_is_lost(number):
    assert list(side_by_side(lambda item: item * item, range(20), number)) == [(item, item**2) for item in range(20)]
    assert list(side_by_side(str, [], number)) == []


def test_calls_run_at_the_same_time():
    # Each call waits for the other two.
    barrier = threading.Barrier(3, timeout=60)
    assert len(list(side_by_side(lambda item: barrier.wait(), range(6), 3))) == 6


def test_an_endless_source_is_not_read_ahead():
    read = []
    found = side_by_side(lambda item: item, (read.append(item) or item for item in itertools.count()), 2)
    assert [next(found)[0] for _ in range(3)] == [0, 1, 2]
    assert len(read) <= 5
    found.close()


@pytest.mark.parametrize('number', [1, 3])
def test_an_error_is_raised_in_its_turn(number):
    found = side_by_side(lambda item: 6 // (3 - item), range(9), number)
    assert [next(found)[1] for _ in range(3)] == [2, 3, 6]
    with pytest.raises(ZeroDivisionError):
        next(found)
