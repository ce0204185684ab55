"""What hooks read from the data samples of MMSegmentation."""

import numpy as np


def label_map(pixels) -> np.ndarray:
    return pixels.data.squeeze(0).cpu().numpy().astype(np.uint8)
