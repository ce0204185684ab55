"""Faster dropout on a CPU."""

import torch
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """``nn.Dropout`` that uses 16 random bits per element on a CPU, in an eighth of the time of ``bernoulli_``.

    The dropout probability is ``p`` rounded to a multiple of 2^-16, and the kept elements are scaled accordingly. The
    random numbers come from torch's generator, but differ from those of ``nn.Dropout``. Outside plain CPU execution,
    ``nn.Dropout`` itself is used.
    """

    def forward(self, x: Tensor) -> Tensor:
        zeros = min(round(self.p * 2**16), 2**16 - 1)
        if not self.training or zeros == 0 or self.p == 1 or x.device.type != 'cpu' or torch.compiler.is_compiling():
            return super().forward(x)
        # In the memory layout of x; otherwise, the product would have to reorder one of its factors.
        noise = torch.empty_like(x)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: x.numel()].as_strided(noise.shape, noise.stride())
        noise = (bits >= zeros - 2**15).to(x.dtype).mul_(2**16 / (2**16 - zeros))
        return x * noise
