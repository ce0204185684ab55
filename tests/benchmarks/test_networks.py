"""The comparison with other networks: what is exported computes MMSegmentation's labels."""

import pytest
import torch
from mmseg.structures import SegDataSample

from mmseg_erfnet.benchmarks.networks import OTHERS, WholeNetwork, networks_table, other_segmentor


@pytest.mark.parametrize('name', OTHERS)
def test_labels_are_mmsegmentations(name):
    segmentor = other_segmentor(OTHERS[name], classes=11)
    torch.manual_seed(0)
    for weight in segmentor.decode_head.parameters():  # initialised to predict one class
        torch.nn.init.normal_(weight)
    frame = torch.randint(256, (1, 64, 128, 3), dtype=torch.uint8)
    sample = SegDataSample(metainfo=dict(img_shape=(64, 128), ori_shape=(64, 128)))
    with torch.no_grad():
        expected = segmentor.test_step(dict(inputs=[frame[0].permute(2, 0, 1)], data_samples=[sample]))
        found = WholeNetwork(segmentor)(frame)
    assert found.dtype == torch.uint8
    assert len(found.unique()) > 1
    assert torch.equal(found[0].long(), expected[0].pred_sem_seg.data[0])


def test_table():
    network = dict(name='A', parameters=2_080_000, macs=9_570_000_000, latency=dict(f32=90.0, int8=26.04))
    machine = dict(cpu='a CPU', flags=['avx2'])
    text = networks_table(dict(machine=machine, threads=2, size=[360, 480], load_before=0.0, networks=[network]))
    assert text.splitlines()[0] == 'a CPU, avx2; 2 threads, batch 1, 360x480, load before 0.0'
    assert text.splitlines()[-1] == '| A | 2.08 | 9.57 | 90.0 | 26.0 |'
