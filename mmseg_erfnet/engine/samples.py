"""Read label maps from MMSegmentation's data samples, for hooks."""

import numpy as np


def label_map(pixels) -> np.ndarray:
    """Return the labels of a ``PixelData`` of shape (1, H, W) as uint8 (H, W)."""
    return pixels.data.squeeze(0).cpu().numpy().astype(np.uint8)
