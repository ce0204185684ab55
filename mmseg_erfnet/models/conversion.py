"""Convert checkpoints from and to the names of the authors' code.

The authors' files contain the network under the names ``encoder.initial_block``, ``encoder.layers.N`` and
``decoder.layers.N``, usually with the prefix ``module.``, and two classifiers, ``encoder.output_conv`` and
``decoder.output_conv``. :func:`from_authors` converts them for a segmentor of ``ERFNet`` with ``ERFNetHead``, or the
encoder alone for one with a 1x1 ``FCNHead(num_convs=0, concat_input=False)``. :func:`to_authors` is the inverse.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from mmseg_erfnet.errors import CheckpointError
from mmseg_erfnet.models.checkpoints import compare, normalise
from mmseg_erfnet.models.erfnet import ERFNet

# Positions in NonBottleneck1d.convs_layers.
_RESIDUAL = {0: 'conv3x1_1', 2: 'conv1x3_1', 3: 'bn1', 5: 'conv3x1_2', 7: 'conv1x3_2', 8: 'bn2'}


def _authors_name(name: str) -> str:
    part, index, rest = name.split('.', 2)
    if rest.startswith('convs_layers.'):
        _, position, rest = rest.split('.', 2)
        rest = f'{_RESIDUAL[int(position)]}.{rest}'
    if part == 'encoder':
        block = 'initial_block' if index == '0' else f'layers.{int(index) - 1}'
    else:
        block = f'layers.{index}'
    return f'{part}.{block}.{rest}'


def _network(encoder_only: bool) -> dict[str, tuple[str, torch.Size]]:
    """Map the authors' names to our names and shapes, for all layers except the output layers."""
    with torch.device('meta'):
        backbone = ERFNet(encoder_only=encoder_only)
    return {_authors_name(name): (f'backbone.{name}', value.shape) for name, value in backbone.state_dict().items()}


def _output(names: str, ours: str, shape: tuple) -> dict[str, tuple[str, tuple]]:
    classes = shape[1] if shape[2:] == (2, 2) else shape[0]
    return {f'{names}.weight': (f'{ours}.weight', shape), f'{names}.bias': (f'{ours}.bias', (classes,))}


def _classes(weights: Mapping[str, Tensor], layer: str) -> int:
    bias = weights.get(f'{layer}.bias')
    return bias.numel() if bias is not None else 0


def from_authors(checkpoint: Mapping, encoder_only: bool | None = None) -> dict:
    """Convert a checkpoint of the authors to one for a segmentor.

    Args:
        checkpoint: Their state dict, or a dict with it under ``state_dict``; a ``module.`` prefix of names is ignored.
        encoder_only: Convert the encoder with its own classifier, for ``ERFNet(encoder_only=True)`` with
            ``FCNHead(num_convs=0, concat_input=False)``. None: only if the checkpoint contains nothing else.

    Returns:
        ``state_dict`` with ``backbone.*`` and ``decode_head.conv_seg.*``, an empty ``meta``, and, for the whole
        network, ``encoder_head``: the encoder's classifier, which the network does not use, for :func:`to_authors`.

    Raises:
        CheckpointError: If names are unknown or missing, or shapes differ; it lists them.
    """
    weights = normalise({**checkpoint})['state_dict']
    if encoder_only is None:
        encoder_only = not any(name.startswith('decoder.') for name in weights)
    if encoder_only:
        weights = {name: value for name, value in weights.items() if not name.startswith('decoder.')}

    table = _network(encoder_only)
    heads = {}
    encoder_output = _output(
        'encoder.output_conv', 'decode_head.conv_seg', (_classes(weights, 'encoder.output_conv'), 128, 1, 1)
    )
    if encoder_only:
        table |= encoder_output
    else:
        table |= _output(
            'decoder.output_conv', 'decode_head.conv_seg', (16, _classes(weights, 'decoder.output_conv'), 2, 2)
        )
        heads = {name.rpartition('.')[2]: name for name in encoder_output if name in weights}
    shapes = {name: shape for name, (_, shape) in (table | encoder_output).items()}
    is_ours = any(name.startswith('backbone.') for name in weights)
    compare(
        weights,
        shapes,
        "the authors' network",
        optional=encoder_output,
        hint=" It is in MMSegmentation's form already." if is_ours else '',
    )

    state_dict = {ours: weights[name] for name, (ours, _) in table.items() if name in weights}
    converted = {'meta': {}, 'state_dict': state_dict}
    if heads:
        converted['encoder_head'] = {name: weights[theirs] for name, theirs in heads.items()}
    return converted


def to_authors(checkpoint: Mapping, encoder_only: bool | None = None) -> dict[str, Tensor]:
    """Convert a segmentor's checkpoint to the authors' names, with the ``module.`` prefix that their programs expect.

    Args:
        checkpoint: A checkpoint of ``ERFNet`` with ``ERFNetHead``, or of the encoder with a 1x1 classifier.
        encoder_only: Convert the encoder alone. None: only if the checkpoint contains nothing else.

    Returns:
        A state dict. For a whole network, it has ``encoder.output_conv`` only if :func:`from_authors` stored it: the
        network does not use it, and this project does not train it.

    Raises:
        CheckpointError: If names are unknown or missing, or shapes differ; it lists them.
    """
    weights = normalise({**checkpoint})['state_dict']
    whole = any(name.startswith('backbone.decoder.') for name in weights)
    encoder_only = not whole if encoder_only is None else encoder_only
    if encoder_only and whole:
        weights = {name: value for name, value in weights.items() if name.startswith('backbone.encoder.')}

    table = _network(encoder_only)
    classes = _classes(weights, 'decode_head.conv_seg')
    if encoder_only:
        output = _output('encoder.output_conv', 'decode_head.conv_seg', (classes, 128, 1, 1))
    else:
        output = _output('decoder.output_conv', 'decode_head.conv_seg', (16, classes, 2, 2))
    table |= output
    compare(
        weights,
        dict(table.values()),
        "the authors' network",
        optional=[ours for ours, _ in output.values()] if encoder_only else (),
        hint='' if encoder_only else ' Only networks with ERFNetHead convert as a whole, others only their encoder.',
    )

    converted = {f'module.{theirs}': weights[ours] for theirs, (ours, _) in table.items() if ours in weights}
    head = checkpoint.get('encoder_head') or {}
    if not isinstance(head, dict) or not all(isinstance(value, Tensor) for value in head.values()):
        raise CheckpointError('The checkpoint holds something of a wrong type as encoder_head: convert it anew.')
    for name, value in head.items():
        converted[f'module.encoder.output_conv.{name}'] = value
    return converted
