"""One phase of a search: its trials, each on disk before the next is proposed from it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from hyperopt import fmin

from cnn.ending import Ending
from cnn.hosts import PixelsOnHost
from cnn.job import Job
from cnn.journal import drop_states
from cnn.manifest import Manifest
from cnn.process import Method
from cnn.progress import SearchProgress
from cnn.results import TRIALS, Status, TrialResult, best_trial, now, trial_file, write_trial
from cnn.search import TIMEOUT, Refused, Repeated, Trials
from cnn.session import Slots, count_slots, preloads, task_profile
from cnn.settings import ModelParams, PhaseSettings, Settings
from cnn.space import Point, SearchSpace, Vals
from cnn.storage import Directory
from cnn.strategies import strategy
from cnn.tracking import write_events
from cnn.trial import TrialObjective, document, trial_result
from cnn.worker import Isolation, Result

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Search:
    """What all phases share."""

    spark: "SparkSession"
    data: Directory
    run: Directory
    settings: Settings
    manifest: Manifest
    # What an earlier driver of this run finished.
    earlier: Sequence[TrialResult]
    say: Callable[[str], None]

    def job(self, phase: PhaseSettings) -> Job:
        last = phase is self.settings.phases[-1]
        return Job(
            phase=phase,
            model=self.settings.model,
            manifest=self.manifest,
            data=self.data.uri,
            run=self.run.uri,
            cache=self.settings.cache,
            # The winner's training is then the rest of its trial's, if there is any.
            keep_state=last and self.settings.final.data == "train" and phase.train_images is None,
        )


def method_of(search: Search, phase: PhaseSettings) -> Method:
    """How a phase's processes start; where there is nothing to fork from they are spawned."""
    return phase.process if preloads(search.spark.sparkContext) else "spawn"


def isolation(search: Search, phase: PhaseSettings, slots: Slots, parallelism: int) -> Isolation:
    """How the tasks of a phase run, `parallelism` of them at a time."""
    return Isolation(
        method=method_of(search, phase),
        timeout=phase.trial_timeout,
        threads=slots.threads(parallelism),
        gpus=slots.gpus,
        trials_per_gpu=phase.trials_per_gpu,
    )


class Phase:
    """One phase's trials: what is known of them, and what to do when one is proposed or ends."""

    def __init__(
        self, search: Search, phase: PhaseSettings, space: SearchSpace, first_number: int
    ) -> None:
        self._search = search
        self._phase = phase
        self._space = space
        self._first_number = first_number
        self._job = search.job(phase)
        self._ending = Ending(phase, search.run)
        earlier = [trial for trial in search.earlier if trial.phase == phase.name]
        self._results = [trial for trial in earlier if trial.status != "cancelled"]
        self._cancelled = [trial for trial in earlier if trial.status == "cancelled"]
        for trial in sorted(self._results, key=lambda trial: trial.ended):
            self._ending.remember(trial)
        self._seen = {_text(trial.params) for trial in self._results}
        self._launched_at: dict[int, datetime] = {}

    def run(self, timeout: float | None) -> tuple[list[TrialResult], str | None]:
        """All trials of the phase by number, and why it ended before all were done, if it did."""
        names = [phase.name for phase in self._search.settings.phases]
        later = names[names.index(self._phase.name) + 1 :]
        reason = self._ending.reason()
        if reason is not None or any(trial.phase in later for trial in self._search.earlier):
            # An earlier driver had ended the phase: what it cancelled then stays cancelled.
            return self._sorted(self._results + self._cancelled), reason
        context = self._search.spark.sparkContext
        slots = count_slots(context, self._phase)
        total = _trial_limit(self._phase, self._space)
        parallelism = max(1, min(self._phase.parallelism or slots.total, slots.total, total))
        objective = TrialObjective(self._job)
        apart = isolation(self._search, self._phase, slots, parallelism)
        trials = Trials(
            self._search.spark,
            parallelism,
            first_number=self._first_number,
            timeout=timeout,
            isolation=apart,
            max_lost=self._phase.max_lost,
            profile=task_profile(context, self._phase.resource_profile),
            conclude=objective.conclude,
            recover=self._recover,
            prepare=self._prepare,
            before=PixelsOnHost(self._job, apart.method),
            on_launch=self._on_launch,
            on_result=self._on_result,
            stop=self._ending.reason,
        )
        for trial in self._results:
            counts = trial.status != "invalid"
            vals = self._space.encode(trial.params)
            trials.add_finished(trial.number, vals, document(self._phase, trial), counts=counts)
        self._progress = SearchProgress(
            self._phase, total=total, parallelism=parallelism, earlier=self._results
        )
        with self._progress:
            fmin(
                objective,
                self._space.expression(),
                algo=strategy(self._space, self._first_number, self._points()),
                max_evals=total,
                trials=trials,
                rstate=np.random.default_rng(self._phase.seed),
                show_progressbar=False,
                return_argmin=False,
            )
        timed_out = trials.fmin_cancelled_reason == TIMEOUT
        return self._sorted(
            self._results
        ), "the time was up" if timed_out else self._ending.reason()

    @staticmethod
    def _sorted(trials: Sequence[TrialResult]) -> list[TrialResult]:
        return sorted(trials, key=lambda trial: trial.number)

    def _points(self) -> dict[int, Vals]:
        """What is tried at which place before the strategy proposes anything for it."""
        points = {place: self._space.encode(p) for place, p in enumerate(self._phase.points)}
        if not self._space.is_grid:
            # As they were when they were cancelled: TPE would propose something else by now.
            for trial in self._cancelled:
                points[trial.number - self._first_number] = self._space.encode(trial.params)
        return points

    def _prepare(self, point: Point) -> ModelParams:
        params = self._space.params(point)
        text = _text(params.model_dump(mode="json"))
        if text in self._seen:
            raise Repeated
        self._seen.add(text)
        if self._search.settings.model.is_ours:
            reason = params.impossible(self._search.manifest.size)
            if reason is not None:
                raise Refused(reason)
        return params

    def _on_launch(self, number: int) -> None:
        self._launched_at[number] = now()
        self._progress.launched()

    def _recover(self, number: int) -> Result | None:
        """The result of a trial that was done before its executor was lost."""
        name = f"{TRIALS}/{trial_file(number)}"
        if not self._search.run.exists(name):
            return None
        trial = TrialResult.model_validate_json(self._search.run.read(name))
        if trial.status == "cancelled":
            return None
        return {**document(self._phase, trial), "written": True}

    def _on_result(self, number: int, point: Point, result: Result) -> None:
        if "trial" in result:
            trial = TrialResult.model_validate(result["trial"])
        else:
            trial = self._without_result(number, self._space.params(point), result)
        if not result.get("written"):
            write_trial(self._search.run, trial)
        write_events(self._search.run, trial)
        self._results.append(trial)
        best = best_trial(self._results, self._phase.objective)
        drop_states(self._search.run, self._results, best)
        self._ending.add(trial)
        self._progress.finished(trial)

    def _without_result(self, number: int, params: ModelParams, result: Result) -> TrialResult:
        """A trial that did not come back, from what the driver knows."""
        ended = now()
        statuses: dict[str, Status] = {"lost": "lost", "out_of_memory": "out_of_memory"}
        status: Status = statuses.get(result.get("kind", ""), "crashed")
        if "refused" in result:
            status = "invalid"
        elif result.get("cancelled"):
            status = "cancelled"
        return trial_result(
            self._phase,
            params,
            number,
            status=status,
            started=self._launched_at.get(number, ended),
            ended=ended,
            error=result.get("refused") or result.get("error"),
        )


def _trial_limit(phase: PhaseSettings, space: SearchSpace) -> int:
    return min(phase.max_trials, space.grid_size()) if space.is_grid else phase.max_trials


def _text(params: Point) -> str:
    return json.dumps(params, sort_keys=True)
