"""The stages of a configuration's training: from scratch; or a head, and then its backbone too.

A network from scratch has one stage. On a frozen backbone, a head is trained on features. For
fine-tuning, the trained head and the last layers of its backbone are trained on, together, on
pixels. Keras is imported inside the functions because the driver imports this module too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnn.rundir.trials import HeadResult, trial_name
from cnn.settings.params import ModelParams, TrainingParams
from cnn.train.heads import head_stage, trained_heads
from cnn.train.job import Job, augmentation, checkpoint, compiled, part, run_fit
from cnn.train.stage import WORDS, Regime, Sides, Stage, Unbuildable, regime_of
from cnn.train.whole_network import whole_for_training

if TYPE_CHECKING:
    import keras

    from cnn.train.fit import LearningRate
    from cnn.train.job import Origin


@dataclass(frozen=True)
class Earlier:
    """Networks that were trained before the last stage of a configuration, one for each side."""

    models: "list[keras.Model]"
    regime: Regime
    # How the heads were trained, if it was for this configuration alone.
    head: HeadResult | None = None


def before_last(
    job: Job,
    params: TrainingParams,
    seed: int,
    sides: Sequence[Sides],
    name: str,
    *,
    whole: bool = False,
    head_epochs: int | None = None,
    learning_rate: "LearningRate | None" = None,
) -> Earlier | None:
    """Trains what comes before the last stage, or reads it from checkpoints; None if nothing does.

    Args:
        job: What the executor is told.
        params: The configuration.
        seed: That of the training.
        sides: The images of each network.
        name: The name of the training's checkpoint.
        whole: Whether the networks are trained on all images, without validation: then for as many
            epochs as it took with validation.
        head_epochs: With `whole`, the epochs of the head.
        learning_rate: How the learning rate of a head changes.
    """
    if job.origin is not None:
        return _of_origin(job.origin, sides, whole, learning_rate)
    if regime_of(params) != "fine_tuned":
        return None
    models, result = trained_heads(
        job,
        params,
        seed,
        sides,
        name,
        epochs=head_epochs if whole else None,
        learning_rate=learning_rate,
    )
    return Earlier(models, "frozen", result)


def _of_origin(
    origin: "Origin", sides: Sequence[Sides], whole: bool, learning_rate: "LearningRate | None"
) -> Earlier:
    """The networks of the earlier phase's best trial; trained again if its checkpoint is lost."""
    job, params, seed = origin.job, origin.params, origin.seed
    name = f"{trial_name(origin.number)}-whole" if whole else trial_name(origin.number)
    earlier = before_last(
        job,
        params,
        seed,
        sides,
        name,
        whole=whole,
        head_epochs=origin.head_epochs,
        learning_rate=learning_rate,
    )
    stage = last_stage(job, params, seed, sides, earlier)
    saved = checkpoint(job, params, name, seed, [train for train, _ in sides])
    start = saved.load(stage.models)
    run_fit(
        job,
        stage.parts,
        stage.batch_size,
        seed=seed,
        epochs=origin.epochs if whole else stage.epochs,
        patience=None if whole else stage.patience,
        learning_rate=stage.learning_rate or learning_rate,
        start=start,
        on_end=lambda progress: None if start else saved.try_save(stage.models, progress),
    )
    return Earlier(stage.models, regime_of(params))


def last_stage(
    job: Job, params: TrainingParams, seed: int, sides: Sequence[Sides], earlier: Earlier | None
) -> Stage:
    """The stage whose result is that of the configuration.

    Args:
        job: What the executor is told.
        params: The configuration.
        seed: That of the training.
        sides: The images of each network.
        earlier: From `before_last`.

    Raises:
        Unbuildable: The networks cannot start from those of the earlier phase.
    """
    regime = regime_of(params)
    if regime == "fine_tuned" and earlier is not None and earlier.regime == "frozen":
        return _fine_tuning(job, params, seed, sides, earlier.models)
    if earlier is not None and earlier.regime != regime:
        raise Unbuildable(
            f"a network that is {WORDS[regime]} cannot start from one that is "
            f"{WORDS[earlier.regime]}"
        )
    if regime == "scratch":
        stage = _scratch(job, params, seed, sides)
    elif regime == "frozen":
        stage = head_stage(job, params, seed, sides)
    else:
        heads = head_stage(job, params, seed, sides)
        stage = _fine_tuning(job, params, seed, sides, heads.models)
    if earlier is not None:
        for model, trained in zip(stage.models, earlier.models, strict=True):
            model.set_weights(trained.get_weights())
    return stage


def _scratch(job: Job, params: TrainingParams, seed: int, sides: Sequence[Sides]) -> Stage:
    from cnn.model.operations import operations

    # All networks begin with the same weights and differ only in their images.
    models = [compiled(job, params, seed) for _ in sides]
    change = augmentation(params, seed)
    epochs, patience = job.phase.schedule(_most(sides), params.batch_size)
    return Stage(
        models,
        [part(job, model, *own, change=change) for model, own in zip(models, sides, strict=True)],
        epochs,
        params.batch_size,
        patience,
        parameters=models[0].count_params(),
        operations=operations(models[0]),
        precision=models[0].dtype_policy.compute_dtype,
    )


def _fine_tuning(
    job: Job,
    params: TrainingParams,
    seed: int,
    sides: Sequence[Sides],
    heads: "list[keras.Model]",
) -> Stage:
    from cnn.model.operations import with_backbone
    from cnn.train.fit import LearningRate

    assert isinstance(params, ModelParams)
    models = [whole_for_training(job, params, head) for head in heads]
    change = augmentation(params, seed)
    return Stage(
        models,
        [part(job, model, *own, change=change) for model, own in zip(models, sides, strict=True)],
        job.phase.fine_tune_epochs,
        params.batch_size,
        learning_rate=LearningRate(params.learning_rate, job.phase.warmup, job.cooldown),
        parameters=models[0].count_params(),
        # Without what fits pixels to the backbone, which a frozen backbone needs as well.
        operations=with_backbone(job.pretrained.backbone(params.backbone), heads[0]),
        precision=job.pretrained.precision,
    )


def _most(sides: Sequence[Sides]) -> int:
    return max(len(train) for train, _ in sides)
