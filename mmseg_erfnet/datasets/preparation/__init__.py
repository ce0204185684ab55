"""Convert exports of labelling tools, and CamVid in its usual forms, to data sets that the configs read."""

from mmseg_erfnet.datasets.preparation.camvid import PreparedCamVid, prepare_camvid
from mmseg_erfnet.datasets.preparation.config import check_config, config_path, write_config
from mmseg_erfnet.datasets.preparation.download import download_camvid
from mmseg_erfnet.datasets.preparation.prepare import Prepared, prepare_dataset

__all__ = [
    'Prepared',
    'PreparedCamVid',
    'check_config',
    'config_path',
    'download_camvid',
    'prepare_camvid',
    'prepare_dataset',
    'write_config',
]
