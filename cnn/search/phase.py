"""One phase of a search: its trials, each on disk before the next is proposed from it."""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
from hyperopt import base, fmin, hp

from cnn.core.clock import now
from cnn.core.documents import Malformed
from cnn.rundir.heartbeat import forget, read_reached
from cnn.rundir.trials import Status, TrialResult, best_trial, read_trial, trial_file, write_trial
from cnn.search.context import Search, isolation
from cnn.search.dispatcher import TIMEOUT, Refused, Repeated, Trials
from cnn.search.journal import drop_states
from cnn.search.progress import SearchProgress
from cnn.search.space import GRID, Point, SearchSpace, Vals, document_of
from cnn.search.stopping import Ending
from cnn.search.strategies import Suggest, strategy
from cnn.search.tensorboard import write_events
from cnn.search.winner import best_trials
from cnn.settings.params import ModelParams, TrainingParams
from cnn.settings.schema import PhaseSettings
from cnn.spark.slots import count_slots, slots_now, task_profile
from cnn.spark.task import Result
from cnn.train.hosts import PixelsOnHost
from cnn.train.job import Job
from cnn.train.trial import TrialObjective, document, trial_result


@dataclass(frozen=True)
class _Round:
    """Trials that Hyperopt is asked for together: a phase's search, or repetitions of its best."""

    title: str
    job: Job
    expression: dict[str, Any]
    suggest: Suggest
    total: int
    first_number: int
    # What a point stands for, and the same for one that is to be launched (see Trials).
    params: Callable[[Point], TrainingParams]
    prepare: Callable[[Point], TrainingParams]
    # Trials that an earlier driver finished, in Hyperopt's encoding.
    finished: Sequence[tuple[TrialResult, Vals]] = ()
    # Number -> the trial that it repeats.
    repeats: Mapping[int, int] = field(default_factory=dict)
    stop: Callable[[], str | None] = lambda: None


class Phase:
    """One phase's trials: what is known of them, and what to do when one is proposed or ends."""

    def __init__(
        self, search: Search, phase: PhaseSettings, space: SearchSpace, first_number: int
    ) -> None:
        self._search = search
        self._phase = phase
        self._space = space
        self._first_number = first_number
        self._ending = Ending(phase, search.run)
        earlier = [trial for trial in search.earlier if trial.phase == phase.name]
        self._results = [trial for trial in earlier if trial.status != "cancelled"]
        self._cancelled = [trial for trial in earlier if trial.status == "cancelled"]
        for trial in sorted(self._searched(), key=lambda trial: trial.ended):
            self._ending.remember(trial)
        self._seen = {_text(trial.params) for trial in self._results}
        self._launched_at: dict[int, datetime] = {}

    def run(self, timeout: float | None) -> tuple[list[TrialResult], str | None]:
        """All trials of the phase by number, and why it ended before all were done, if it did."""
        deadline = None if timeout is None else time.monotonic() + timeout
        names = [phase.name for phase in self._search.settings.phases]
        later = names[names.index(self._phase.name) + 1 :]
        reason = self._ending.reason()
        over = any(trial.phase in later for trial in self._search.earlier)
        if over or reason is not None:
            # An earlier driver had ended the search: what it cancelled then stays cancelled.
            self._results += self._unrepeated()
        elif self._dispatch(self._search_round(), deadline):
            return self._sorted(self._results), "the time was up"
        else:
            reason = self._ending.reason()
        if over:
            return self._sorted(self._results), reason
        repetitions = self._repetitions()
        if repetitions is not None and self._dispatch(repetitions, deadline):
            reason = "the time was up before the best were trained again"
        return self._sorted(self._results), reason

    def _searched(self) -> list[TrialResult]:
        return [trial for trial in self._results if trial.repeats is None]

    @staticmethod
    def _sorted(trials: Sequence[TrialResult]) -> list[TrialResult]:
        return sorted(trials, key=lambda trial: trial.number)

    def _search_round(self) -> _Round:
        return _Round(
            title=f"phase {self._phase.name}",
            job=self._search.job(self._phase),
            expression=self._space.expression(),
            suggest=strategy(self._space, self._first_number, self._points()),
            total=self._space.trials(),
            first_number=self._first_number,
            params=self._space.params,
            prepare=self._prepare,
            finished=[(trial, self._space.encode(trial.params)) for trial in self._searched()],
            stop=self._ending.reason,
        )

    def _repetitions(self) -> _Round | None:
        """The best again, each with other seeds and without rungs: one after the other, in turn."""
        confirm = self._phase.confirm
        if confirm is None:
            return None
        best = best_trials(self._results, self._phase.objective, confirm.top)
        again = [trial for _ in range(confirm.seeds) for trial in best]
        first = max(trial.number for trial in (*self._searched(), *self._unrepeated())) + 1
        repeats = {first + place: trial.number for place, trial in enumerate(again)}
        done = [t for t in self._results if t.repeats is not None]
        if not again or len(done) == len(again):
            return None

        def suggest(
            ids: list[int], domain: base.Domain, trials: base.Trials, seed: int
        ) -> list[dict[str, Any]]:
            vals: Vals = {GRID: [ids[0] - first]}
            return [document_of(ids[0], vals, domain.new_result(), base.JOB_STATE_NEW)]

        kind = self._search.settings.model.params_kind

        def params(point: Point) -> TrainingParams:
            return kind.model_validate(again[int(point[GRID])].params)

        phase = self._phase.model_copy(update={"halving": False})
        return _Round(
            title=f"phase {self._phase.name}, the best {len(best)} again with other seeds",
            job=dataclasses.replace(self._search.job(self._phase), phase=phase, keep_state=False),
            expression={GRID: hp.randint(GRID, len(again))},
            suggest=suggest,
            total=len(again),
            first_number=first,
            params=params,
            prepare=params,
            finished=[(trial, {GRID: [trial.number - first]}) for trial in done],
            repeats=repeats,
        )

    def _unrepeated(self) -> list[TrialResult]:
        return [trial for trial in self._cancelled if trial.repeats is None]

    def _dispatch(self, work: _Round, deadline: float | None) -> bool:
        """Has all trials of a round done; whether the time was up before they were."""
        context = self._search.spark.sparkContext
        slots = count_slots(context, self._phase)
        most = min(self._phase.parallelism or work.total, work.total)
        parallelism = max(1, min(slots.total, most))
        there = slots_now(context, self._phase, slots)

        def slots_to_use() -> int:
            self._progress.parallelism = max(1, min(there(), most))
            return self._progress.parallelism

        objective = TrialObjective(work.job, work.repeats)
        apart = isolation(self._search, self._phase, slots, parallelism)
        trials = Trials(
            self._search.spark,
            parallelism,
            first_number=work.first_number,
            timeout=None if deadline is None else max(0.1, deadline - time.monotonic()),
            isolation=apart,
            max_lost=self._phase.max_lost,
            profile=task_profile(context, self._phase.resource_profile),
            conclude=objective.conclude,
            recover=self._recover,
            prepare=work.prepare,
            before=PixelsOnHost(work.job, apart.method),
            on_launch=lambda number, point: self._on_launch(work, number, point),
            on_result=lambda number, point, result: self._on_result(work, number, point, result),
            stop=work.stop,
            slots=slots_to_use,
        )
        for trial, vals in work.finished:
            counts = trial.status != "invalid"
            trials.add_finished(trial.number, vals, document(self._phase, trial), counts=counts)
        self._progress = SearchProgress(
            work.title,
            self._phase.objective,
            total=work.total,
            parallelism=parallelism,
            first_number=work.first_number,
            earlier=[trial for trial, _ in work.finished],
            varying=self._space.varying,
            timeout=None if deadline is None else deadline - time.monotonic(),
            forecast=self._search.forecast(
                self._phase, slots, parallelism, repeating=bool(work.repeats)
            ),
            best=best_trial(self._results, self._phase.objective),
            display=self._search.display,
            read=partial(read_reached, self._search.run),
        )
        with self._progress:
            fmin(
                objective,
                work.expression,
                algo=work.suggest,
                max_evals=work.total,
                trials=trials,
                rstate=np.random.default_rng(self._phase.seed),
                show_progressbar=False,
                return_argmin=False,
            )
        return bool(trials.fmin_cancelled_reason == TIMEOUT)

    def _points(self) -> dict[int, Vals]:
        """What is tried at which place before the strategy proposes anything for it."""
        points = {place: self._space.encode(p) for place, p in enumerate(self._phase.points)}
        if not self._space.is_grid:
            # As they were when they were cancelled: TPE would propose something else by now.
            for trial in self._unrepeated():
                points[trial.number - self._first_number] = self._space.encode(trial.params)
        return points

    def _prepare(self, point: Point) -> TrainingParams:
        params = self._space.params(point)
        text = _text(params.model_dump(mode="json"))
        if text in self._seen:
            raise Repeated
        self._seen.add(text)
        if isinstance(params, ModelParams):
            reason = params.impossible(self._search.manifest.size)
            if reason is not None:
                raise Refused(reason)
        return params

    def _on_launch(self, work: _Round, number: int, point: Point) -> None:
        self._launched_at[number] = now()
        self._progress.launched(number, work.params(point).model_dump())

    def _recover(self, number: int) -> Result | None:
        """The result of a trial that was done before its executor was lost."""
        try:
            trial = read_trial(self._search.run, trial_file(number))
        except (FileNotFoundError, Malformed):
            return None
        if trial.number != number or trial.status == "cancelled":
            return None
        return {**document(self._phase, trial), "written": True}

    def _on_result(self, work: _Round, number: int, point: Point, result: Result) -> None:
        if result.get("cancelled"):
            # Its executor may have had it done before the driver heard of that.
            result = self._recover(number) or result
        if "trial" in result:
            trial = TrialResult.model_validate(result["trial"])
        else:
            trial = self._without_result(number, work.params(point), result)
            trial = trial.model_copy(update={"repeats": work.repeats.get(number)})
        if not result.get("written"):
            write_trial(self._search.run, trial)
        write_events(self._search.run, trial)
        self._search.on_trial(trial)
        if number in self._launched_at:
            # Where it died it could not do so itself.
            forget(self._search.run, number)
        self._results.append(trial)
        best = best_trial(self._results, self._phase.objective)
        drop_states(self._search.run, self._results, best)
        if trial.repeats is None:
            self._ending.add(trial)
        self._progress.finished(trial)

    def _without_result(self, number: int, params: TrainingParams, result: Result) -> TrialResult:
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


def _text(params: Point) -> str:
    return json.dumps(params, sort_keys=True)
