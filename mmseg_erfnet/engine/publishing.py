"""Handing on what a run has made."""

import hashlib
import json
from pathlib import Path

from mmseg_erfnet.models.checkpoints import load_checkpoint_file, publishable
from mmseg_erfnet.visualization.curves import read_history

from .checkpointing import AtomicBackend, save_whole


def publish(source: str | Path, target: str | Path, trust_checkpoint: bool = False) -> str:
    """Write the weights of a checkpoint, and what its run logged, for others.

    Args:
        source: A checkpoint, in the work dir of its run.
        target: The file to write; the log goes beside it, as ``NAME.log.json``.
        trust_checkpoint: Load a checkpoint that holds more than data.

    Returns:
        A sentence with the size and the SHA-256.

    Raises:
        CheckpointError: The source cannot be loaded.
    """
    target = Path(target)
    data = save_whole(publishable(load_checkpoint_file(source, trust=trust_checkpoint)), target)
    history = read_history(Path(source).parent)
    # Of each epoch the last line.
    last = {line['x']: {key: line[key] for key in ('iter', 'loss', 'lr') if key in line} for line in history.train}
    log = {'unit': history.unit, 'train': last, 'val': history.val, 'train_frames': history.train_scores}
    AtomicBackend().put_text(json.dumps(log, indent=1), target.with_suffix('.log.json'))
    return f'{target}: {len(data) / 1e6:.2f} MB, SHA-256 {hashlib.sha256(data).hexdigest()}'
