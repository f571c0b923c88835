"""What all phases of a search share, and how the processes of their trials are isolated."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cnn.core.directory import Directory
from cnn.core.display import Display, OnStdout
from cnn.data.manifest import Manifest
from cnn.data.splits import TRAIN
from cnn.rundir.earlier_runs import NOTHING, EarlierRuns
from cnn.rundir.extension import EXTENSION, Extension
from cnn.rundir.trials import TrialResult
from cnn.search.forecast import Forecast
from cnn.settings.schema import PhaseSettings, Settings
from cnn.spark.child import Method
from cnn.spark.session import forks_trials
from cnn.spark.slots import Slots
from cnn.spark.task import Isolation
from cnn.train.job import Job, Origin
from cnn.train.pretrained import NONE, Pretrained

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Search:
    """What all phases of a search share."""

    spark: "SparkSession"
    data: Directory
    run: Directory
    settings: Settings
    manifest: Manifest
    # Trials that an earlier driver of this run finished.
    earlier: Sequence[TrialResult]
    say: Callable[[str], None]
    # Called with each trial once it is on disk; must return at once.
    on_trial: Callable[[TrialResult], None] = lambda trial: None
    # What the networks of a phase start from, by phase.
    origins: Mapping[str, Origin] = field(default_factory=dict)
    # What is known from earlier runs; a run that is resumed has it in its directory.
    known: EarlierRuns = NOTHING
    # The backbones of the space; where their files are until the run directory has them.
    pretrained: Pretrained = NONE
    backbone_files: Path | None = None
    # Functions that cannot be imported, by their names in the settings (see
    # cnn.model.own_function).
    functions: Mapping[str, bytes] = field(default_factory=dict)
    # Where the progress is shown.
    display: Display = field(default_factory=OnStdout)
    # How the run goes on after it had finished; None of any other run.
    extension: Extension | None = None

    @property
    def first_new(self) -> int:
        """The number of the first trial that the run did not have before it was extended."""
        return self.extension.first_number if self.extension else 0

    @property
    def results(self) -> Directory:
        """Where the winner's files and the result go: a finished run stays until all are there."""
        return self.run.sub(EXTENSION) if self.extension else self.run

    def job(self, phase: PhaseSettings) -> Job:
        """What executors are told about a phase."""
        continues = any(other.start is not None for other in self.settings.phases)
        return Job(
            phase=phase,
            model=self.settings.model,
            manifest=self.manifest,
            data=self.data.uri,
            run=self.run.uri,
            cache=self.settings.cache,
            # The winner's training then continues that of its trial.
            keep_state=self.keeps_state(phase),
            # They are compared with those of a phase that continues this one's networks.
            keep_answers=self.settings.final.suspects != "none" or continues,
            frugal=phase.by_accuracy and self.settings.final.choose == "simplest",
            is_origin=any(other.start == phase.name for other in self.settings.phases),
            origin=self.origins.get(phase.name),
            pretrained=self.pretrained,
            few_images=self.settings.few_images,
            cooldown=self.settings.final.cooldown,
            build=self.functions.get(self.settings.model.builder),
            objective=self.functions.get(phase.objective),
            results=self.results.uri,
        )

    def keeps_state(self, phase: PhaseSettings) -> bool:
        """Whether the winner's training continues from the end of its trial."""
        smallest = self.manifest.smallest_class(TRAIN)
        one = phase.networks(smallest, self.settings.few_images) == 1
        last = phase is self.settings.phases[-1]
        return last and one and self.settings.final.data == "train" and phase.train_images is None

    def forecast(
        self, phase: PhaseSettings, slots: Slots, parallelism: int, *, repeating: bool = False
    ) -> Forecast:
        """The work that follows a round of a phase that runs `parallelism` trials at a time."""
        return Forecast(
            self.settings,
            self.manifest,
            phase,
            slots=parallelism,
            more_threads=slots.threads(1) / slots.threads(parallelism),
            repeating=repeating,
            keeps_state=self.keeps_state(self.settings.phases[-1]),
        )


def method_of(search: Search, phase: PhaseSettings) -> Method:
    """How a phase's processes start; they are spawned if no preloaded process can be forked."""
    return phase.process if forks_trials(search.spark.sparkContext) else "spawn"


def isolation(search: Search, phase: PhaseSettings, slots: Slots, parallelism: int) -> Isolation:
    """How the tasks of a phase run if `parallelism` run at the same time."""
    return Isolation(
        method=method_of(search, phase),
        timeout=phase.trial_timeout,
        threads=slots.threads(parallelism),
        gpus=slots.gpus,
        trials_per_gpu=phase.trials_per_gpu,
    )
