"""Limits on the size of networks: `search.max_parameters` and `search.max_operations`."""

from collections.abc import Sequence

from cnn.data.manifest import Manifest
from cnn.model.backbone_card import Backbone
from cnn.settings.network_size import NetworkSize, head_size, network_size
from cnn.settings.params import ModelParams
from cnn.settings.schema import PhaseSettings


def too_large(
    phase: PhaseSettings,
    params: ModelParams,
    manifest: Manifest,
    backbones: Sequence[Backbone],
) -> str | None:
    """Why a configuration of the built-in network is beyond the phase's limits, or None.

    A backbone that is not among `backbones` is not known yet and not beyond any limit.
    """
    size = _size(params, manifest, backbones)
    return None if size is None else size.beyond(phase.max_parameters, phase.max_operations)


def _size(
    params: ModelParams, manifest: Manifest, backbones: Sequence[Backbone]
) -> NetworkSize | None:
    classes = len(manifest.classes)
    if not params.has_backbone:
        return network_size(params, size=manifest.size, channels=manifest.channels, classes=classes)
    backbone = next((one for one in backbones if one.name == params.backbone), None)
    if backbone is None:
        return None
    head = head_size(params, features=backbone.features, classes=classes)
    operations = None
    if backbone.operations is not None and head.operations is not None:
        operations = backbone.operations + head.operations
    return NetworkSize(backbone.parameters + head.parameters, operations)
