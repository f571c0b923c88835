"""Limits on the size of networks, `search.max_parameters` and `search.max_operations`.

And what is said of networks whose size or time is not known.
"""

from collections.abc import Sequence

from cnn.data.manifest import Manifest
from cnn.model.backbone_card import Backbone
from cnn.rundir.trials import TrialResult
from cnn.settings.network_size import NetworkSize, head_size, network_size
from cnn.settings.objective import Cost, cost_name
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


def unknown_costs(phase: PhaseSettings, trials: Sequence[TrialResult]) -> list[str]:
    """Remarks on networks whose cost is unknown, if the phase's settings need it.

    The operations of a network with layers of an unusual kind cannot be counted.

    Args:
        phase: The phase's settings.
        trials: Its trials.
    """
    scored = [trial for trial in trials if trial.status in {"ok", "pruned"}]
    remarks = []
    if phase.cost is not None:
        remark = _unknown(phase, scored, phase.cost)
        if remark is not None:
            remarks.append(f"{remark}: they come last in the second of search.objective")
    if phase.max_operations is not None:
        remark = _unknown(phase, scored, "operations")
        if remark is not None:
            remarks.append(f"{remark}: search.max_operations did not refuse any of them")
    return remarks


def _unknown(phase: PhaseSettings, trials: Sequence[TrialResult], cost: Cost) -> str | None:
    number = sum(getattr(trial, cost) is None for trial in trials)
    if not number:
        return None
    return (
        f"the {cost_name(cost)} of the networks of {number} of {len(trials)} trials of phase "
        f"{phase.name} could not be found"
    )


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
