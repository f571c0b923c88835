"""What a run came to, put together for result.json and model.json."""

from cnn.core.clock import now
from cnn.data.manifest import Manifest
from cnn.data.splits import TEST, TRAIN
from cnn.model.card import ModelCard, evaluation_batch
from cnn.rundir.metrics import Metrics
from cnn.rundir.result import (
    Baseline,
    DataSummary,
    FrontNetwork,
    RunResult,
    Winner,
    WinnerOutcome,
)
from cnn.rundir.suspects import LabelCheck
from cnn.rundir.trials import TrialResult, count_by_status
from cnn.search.journal import Start
from cnn.search.run_phases import History
from cnn.settings.schema import Settings


def make_result(
    manifest: Manifest,
    start: Start,
    history: History,
    winner: TrialResult,
    outcome: WinnerOutcome,
    *,
    search_seconds: float,
    labels: LabelCheck | None,
    pareto: tuple[FrontNetwork, ...] = (),
    hint: str | None = None,
) -> RunResult:
    """The result of a run that ends now.

    Args:
        manifest: That of the data set.
        start: What the run was started on.
        history: What the phases of the search came to.
        winner: The trial that won.
        outcome: What training and testing it came to.
        search_seconds: How long the search took, interruptions left out.
        labels: How many labels are probably wrong, if they were checked.
        pareto: The networks of the front that were trained too.
        hint: What would probably give a better network.
    """
    assert winner.accuracy is not None
    trained = manifest.counts[TRAIN]
    larger = max(trained, key=lambda name: trained[name])
    return RunResult(
        params=winner.params,
        winner=Winner(
            number=winner.number, phase=winner.phase, accuracy=winner.accuracy, loss=winner.loss
        ),
        phases=tuple(history.entries),
        validation=outcome.validation
        or Metrics(
            accuracy=winner.accuracy,
            loss=winner.loss,
            balanced_accuracy=winner.balanced_accuracy,
            objective=winner.objective,
        ),
        test=outcome.test,
        baseline=Baseline(
            accuracy=manifest.counts[TEST][larger] / manifest.total(TEST), class_name=larger
        ),
        final=outcome.final,
        trials=count_by_status(history.trials),
        versions=outcome.versions,
        architecture=outcome.architecture,
        layers=outcome.layers,
        parameters=outcome.parameters,
        backbone=outcome.backbone,
        data=DataSummary.model_validate(manifest.model_dump(include={*DataSummary.model_fields})),
        seconds={"preprocess": manifest.seconds, "search": search_seconds, **outcome.seconds},
        command=start.command,
        configs=start.configs,
        notes=tuple(history.notes),
        labels=labels,
        pareto=pareto,
        hint=hint,
        started=start.started,
        ended=now(),
    )


def model_card(
    manifest: Manifest, settings: Settings, winner: TrialResult, outcome: WinnerOutcome
) -> ModelCard:
    """What the model expects of an image, and what it was made with."""
    side = outcome.backbone.side if outcome.backbone else None
    return ModelCard(
        schema_version=manifest.schema_version,
        size=manifest.size,
        channels=manifest.channels,
        color_mode=manifest.settings.color_mode,
        fit=manifest.settings.fit,
        background=manifest.settings.background,
        value_range=manifest.value_range,
        classes=manifest.classes,
        params=dict(winner.params),
        builder=settings.model.builder,
        versions=dict(outcome.versions),
        batch_size=evaluation_batch(max(manifest.size, side or 0)),
    )
