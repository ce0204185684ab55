"""Shared by the tests: where the project is, and where real frames are if this machine has them."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _from_environment(variable: str) -> Path:
    if variable not in os.environ:
        pytest.skip(f'set {variable} to a folder with real frames to run this test')
    return Path(os.environ[variable])


@pytest.fixture(scope='session')
def camvid_root() -> Path:
    """Real CamVid in the official layout: 701_StillsRaw_full, LabeledApproved_full."""
    return _from_environment('CAMVID_ROOT')


@pytest.fixture(scope='session')
def cityscapes_root() -> Path:
    """Real Cityscapes: leftImg8bit, gtFine."""
    return _from_environment('CITYSCAPES_ROOT')


@pytest.fixture(scope='session')
def erfnet_reference() -> Path:
    """The `.npz` with one forward pass of the authors' network."""
    return _from_environment('ERFNET_REFERENCE')
