"""The rounds of a phase: its search, and the repetition of its best trials with other seeds."""

import dataclasses
import json
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
from hyperopt import base, fmin, hp

from cnn.core.clock import now
from cnn.core.errors import InputError
from cnn.rundir.earlier_runs import NOTHING, read_earlier
from cnn.rundir.heartbeat import read_progress
from cnn.rundir.trials import TRIALS, TrialResult, counts, trial_file
from cnn.search.confirm import Confirmation
from cnn.search.context import Search, isolation
from cnn.search.dispatcher import TIMEOUT, Trials
from cnn.search.grid import GRID
from cnn.search.hyperopt_documents import Point, Vals, document_of
from cnn.search.limits import too_large
from cnn.search.phase_trials import PhaseTrials
from cnn.search.progress import SearchProgress
from cnn.search.round import Refused, Repeated, Round
from cnn.search.space import SearchSpace
from cnn.search.strategies import Suggest, strategy
from cnn.search.warm_start import inside
from cnn.settings.params import ModelParams, TrainingParams
from cnn.settings.schema import PhaseSettings
from cnn.spark.slots import count_slots, slots_now, task_profile
from cnn.spark.task import Result
from cnn.train.hosts import PixelsOnHost
from cnn.train.hyperopt_result import document
from cnn.train.trial import TrialObjective


class PhaseRound(Round, ABC):
    """Trials of a phase that follow the same rules; a subclass sets the attributes below."""

    title: str
    # Hyperopt's search space, and the algorithm that draws from it.
    expression: dict[str, Any]
    suggest: Suggest
    total: int
    first_number: int
    # Trial number -> number of the trial that it repeats.
    repeats: Mapping[int, int]
    # Trials that an earlier driver finished, in Hyperopt's encoding.
    earlier: Sequence[tuple[TrialResult, Vals]]
    # Numbers after the first that this round must not use: the run has used them.
    others: Collection[int] = ()

    def __init__(
        self, search: Search, phase: PhaseSettings, space: SearchSpace, trials: PhaseTrials
    ) -> None:
        self._search = search
        self._phase = phase
        self._space = space
        self._trials = trials
        self._job = search.job(phase)
        self._launched_at: dict[int, datetime] = {}

    @abstractmethod
    def params(self, point: Point) -> TrainingParams:
        """The configuration of a point."""

    def run(self, deadline: float | None) -> bool:
        """Runs all trials of the round; returns whether the deadline ended it early.

        `deadline` is a time of the monotonic clock.
        """
        context = self._search.spark.sparkContext
        slots = count_slots(context, self._phase)
        self._most = min(self._phase.parallelism or self.total, self.total)
        parallelism = max(1, min(slots.total, self._most))
        self._slots_now = slots_now(context, self._phase, slots)
        isolated = isolation(self._search, self._phase, slots, parallelism)
        left = None if deadline is None else deadline - time.monotonic()
        trials = Trials(
            self._search.spark,
            parallelism,
            first_number=self.first_number,
            taken=self.others,
            timeout=None if left is None else max(0.1, left),
            isolation=isolated,
            max_lost=self._phase.max_lost,
            profile=task_profile(context, self._phase.resource_profile),
            round=self,
        )
        for trial, vals in self.earlier:
            result = document(self._job, trial)
            trials.add_finished(trial.number, vals, result, counts=counts(trial))
        self._progress = SearchProgress(
            self.title,
            self._phase.objective,
            total=self.total,
            parallelism=parallelism,
            first_number=self.first_number,
            earlier=[trial for trial, _ in self.earlier],
            varying=self._space.varying,
            timeout=left,
            forecast=self._search.forecast(
                self._phase, slots, parallelism, repeating=bool(self.repeats)
            ),
            best=self._trials.best(),
            display=self._search.display,
            read=partial(read_progress, self._search.run),
        )
        with self._progress:
            fmin(
                TrialObjective(self._job, self.repeats, PixelsOnHost(self._job, isolated.method)),
                self.expression,
                algo=self.suggest,
                max_evals=self.total,
                trials=trials,
                rstate=np.random.default_rng(self._phase.seed),
                show_progressbar=False,
                return_argmin=False,
            )
        return bool(trials.fmin_cancelled_reason == TIMEOUT)

    def slots(self) -> int:
        self._progress.parallelism = max(1, min(self._slots_now(), self._most))
        return self._progress.parallelism

    def launched(self, number: int, point: Point) -> None:
        self._launched_at[number] = now()
        self._progress.launched(number, self.params(point).model_dump())

    def recover(self, number: int) -> Result | None:
        return self._trials.recover(number)

    def finished(self, number: int, point: Point, result: Result) -> None:
        trial = self._trials.finish(
            number,
            self.params(point),
            result,
            launched=self._launched_at.get(number),
            repeats=self.repeats.get(number),
        )
        self._progress.finished(trial)


class SearchRound(PhaseRound):
    """The configurations that the phase's strategy proposes, each once."""

    def __init__(
        self,
        search: Search,
        phase: PhaseSettings,
        space: SearchSpace,
        trials: PhaseTrials,
        first_number: int,
    ) -> None:
        super().__init__(search, phase, space, trials)
        self.title = f"phase {phase.name}"
        self.expression = space.expression()
        self.total = space.trials()
        self.first_number = first_number
        self.repeats = {}
        self.earlier = [(trial, self._vals(trial)) for trial in trials.searched()]
        first = phase is search.settings.phases[0]
        known = read_earlier(search.run) if first else NOTHING
        if search.extension is not None:
            known = inside(known, space)
            own = {trial.number for trial in [*trials.searched(), *trials.cancelled]}
            self.others = sorted(set(range(first_number, search.first_new)) - own)
        self.suggest = strategy(space, first_number, self._points(), known, self.others)
        self._seen = {_text(trial.params) for trial in trials.all()}

    def params(self, point: Point) -> TrainingParams:
        return self._space.params(point)

    def prepare(self, point: Point) -> TrainingParams:
        params = self.params(point)
        text = _text(params.model_dump(mode="json"))
        if text in self._seen:
            raise Repeated
        self._seen.add(text)
        if isinstance(params, ModelParams):
            search = self._search
            reason = params.impossible(search.manifest.size) or too_large(
                self._phase, params, search.manifest, search.pretrained.backbones
            )
            if reason is not None:
                raise Refused(reason)
        return params

    def stop(self) -> str | None:
        return self._trials.stopping.reason()

    def _points(self) -> dict[int, Vals]:
        """The configurations that are given rather than proposed, by their place in the round."""
        points = {place: self._space.encode(p) for place, p in enumerate(self._phase.points)}
        kept: list[TrialResult] = []
        if not self._space.is_grid:
            # Cancelled trials keep their configurations; by now others might be proposed.
            kept = self._trials.cancelled
        if self._search.extension is not None:
            # In a grid that has become larger, the trials before are not its first points.
            trials = [*self._trials.searched(), *self._trials.cancelled]
            kept = [*kept, *(t for t in trials if t.number < self._search.first_new)]
        for trial in kept:
            before = sum(other < trial.number for other in self.others)
            place = trial.number - self.first_number - before
            points[place] = self._vals(trial)
        return points

    def _vals(self, trial: TrialResult) -> Vals:
        """A trial's configuration in Hyperopt's encoding."""
        try:
            return self._space.encode(trial.params)
        except InputError as error:
            raise InputError(
                f"each trial of a run must be in its search space, but {TRIALS}/"
                f"{trial_file(trial.number)} is not: {error}"
            ) from None


class ConfirmationRound(PhaseRound):
    """The best trials again with other seeds and without rungs, taken in turn."""

    def __init__(
        self,
        search: Search,
        phase: PhaseSettings,
        space: SearchSpace,
        trials: PhaseTrials,
        plan: Confirmation,
    ) -> None:
        super().__init__(search, phase, space, trials)
        # Repetitions that the run had before it was extended stay valid, and are not made again.
        before = [trial for trial in trials.repeated() if trial.number < search.first_new]
        had = Counter(trial.repeats for trial in before)
        self._repeated = [
            trial
            for turn in range(plan.seeds)
            for trial in plan.trials
            if turn >= had[trial.number]
        ]
        # They have passed the limits, and a time that is measured again may be a little longer.
        whole = phase.model_copy(update={"halving": False, "max_latency_ms": None})
        self._job = dataclasses.replace(self._job, phase=whole, keep_state=False)
        self.title = f"phase {phase.name}, the best {len(plan.trials)} again with other seeds"
        self.expression = {GRID: hp.randint(GRID, max(1, len(self._repeated)))}
        self.total = len(self._repeated)
        numbers = {trial.number for trial in [*trials.searched(), *trials.cancelled]}
        self.first_number = max(search.first_new - 1, *numbers) + 1
        own = range(self.first_number, self.first_number + self.total)
        self.repeats = {n: trial.number for n, trial in zip(own, self._repeated, strict=True)}
        self.earlier = [
            (trial, {GRID: [trial.number - self.first_number]})
            for trial in trials.repeated()
            if trial.number >= search.first_new
        ]
        self.suggest = self._next

    def params(self, point: Point) -> TrainingParams:
        kind = self._search.settings.model.params_kind
        return kind.model_validate(self._repeated[int(point[GRID])].params)

    def prepare(self, point: Point) -> TrainingParams:
        return self.params(point)

    def _next(
        self, ids: list[int], domain: base.Domain, trials: base.Trials, seed: int
    ) -> list[dict[str, Any]]:
        vals: Vals = {GRID: [ids[0] - self.first_number]}
        return [document_of(ids[0], vals, domain.new_result(), base.JOB_STATE_NEW)]


def _text(params: Point) -> str:
    return json.dumps(params, sort_keys=True)
