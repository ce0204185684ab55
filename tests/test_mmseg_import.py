"""What the tools set up when they import MMSegmentation."""

import subprocess
import sys

DENORMALS = """
import torch
from mmseg_erfnet.mmseg_import import import_mmseg
assert {call}
torch.set_num_threads(2)
denormal = torch.full((1 << 20,), 3, dtype=torch.int32).view(torch.float32)
print(int((denormal * 1).view(torch.int32).count_nonzero()))
"""


def test_denormals_are_zero_in_every_thread():
    left = {
        call: subprocess.run([sys.executable, '-c', DENORMALS.format(call=call)], capture_output=True, text=True).stdout
        for call in ('import_mmseg()', 'True')
    }
    assert left == {'import_mmseg()': '0\n', 'True': f'{1 << 20}\n'}, 'without the call, none is zero'
