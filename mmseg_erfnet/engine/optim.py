"""bfloat16 training, on a CPU or a GPU."""

from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper

from mmseg_erfnet.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Run the forward pass under bfloat16 autocast; weights, gradients and optimiser state stay in float32.

    bfloat16 has the exponent range of float32, so no loss scaling is needed. mmengine's ``AmpOptimWrapper`` does not
    support CPUs. The arguments are those of mmengine's ``OptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: torch.nn.Module):
        with super().optim_context(model), torch.autocast(get_device(), dtype=torch.bfloat16):
            yield
