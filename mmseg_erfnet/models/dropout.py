"""Dropout, faster on a CPU."""

import torch
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """``nn.Dropout`` whose draws take 16 bits each on a CPU: an eighth of the time of ``bernoulli_``.

    The probability of a zero is ``p`` rounded to a multiple of 2^-16, and the factor of what stays fits the rounded
    one. The draws come from torch's generator, as ever, but are others than those of ``nn.Dropout``, which serves
    wherever it is not a CPU that computes this directly.
    """

    def forward(self, x: Tensor) -> Tensor:
        zeros = min(round(self.p * 2**16), 2**16 - 1)
        if not self.training or zeros == 0 or self.p == 1 or x.device.type != 'cpu' or torch.compiler.is_compiling():
            return super().forward(x)
        # In the order of x in memory, as else the product would have to reorder one of the two.
        noise = torch.empty_like(x)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: x.numel()].as_strided(noise.shape, noise.stride())
        noise = (bits >= zeros - 2**15).to(x.dtype).mul_(2**16 / (2**16 - zeros))
        return x * noise
