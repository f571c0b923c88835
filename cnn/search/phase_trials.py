"""The trials of one phase, and what is done when one ends."""

from datetime import datetime

from cnn.core.clock import now
from cnn.core.documents import Malformed
from cnn.data.splits import TRAIN
from cnn.rundir.heartbeat import remove_progress
from cnn.rundir.trials import (
    Status,
    TrialResult,
    best_trial,
    counts,
    read_trial,
    trial_file,
    write_trial,
)
from cnn.search.context import Search
from cnn.search.journal import drop_answers, drop_checkpoints
from cnn.search.simplest import possible_winners
from cnn.search.stopping import Stopping
from cnn.search.tensorboard import write_events
from cnn.settings.params import TrainingParams
from cnn.settings.schema import PhaseSettings
from cnn.spark.task import Result
from cnn.train.hyperopt_result import document
from cnn.train.trial import trial_result


class PhaseTrials:
    """The trials of a phase. Each is written to disk before anything else uses its result."""

    def __init__(self, search: Search, phase: PhaseSettings) -> None:
        self._search = search
        self._phase = phase
        self._job = search.job(phase)
        manifest = search.manifest
        chance = max(manifest.counts[TRAIN].values()) / manifest.total(TRAIN)
        self.stopping = Stopping(phase, search.run, chance)
        earlier = [trial for trial in search.earlier if trial.phase == phase.name]
        self._done = [trial for trial in earlier if trial.status != "cancelled"]
        # Trials that an earlier driver cancelled; they run again unless the phase is over.
        self.cancelled = [t for t in earlier if t.status == "cancelled" and t.repeats is None]
        found = sorted(self.searched(), key=lambda trial: trial.ended)
        for trial in (trial for trial in found if trial.number < search.first_new):
            self.stopping.remember(trial)
        if search.extension is not None:
            self.stopping.go_on()
        for trial in (trial for trial in found if trial.number >= search.first_new):
            self.stopping.remember(trial)

    def all(self) -> list[TrialResult]:
        """The finished trials by number."""
        return sorted(self._done, key=lambda trial: trial.number)

    def searched(self) -> list[TrialResult]:
        """The finished trials that do not repeat others."""
        return [trial for trial in self._done if trial.repeats is None]

    def made(self) -> int:
        """How many of `search.max_trials` there are."""
        return sum(map(counts, self.searched()))

    def repeated(self) -> list[TrialResult]:
        """The finished repetitions of the best trials."""
        return [trial for trial in self._done if trial.repeats is not None]

    def best(self) -> TrialResult | None:
        """The best finished trial by the phase's objective."""
        return best_trial(self._done, self._phase.objective)

    def leave_cancelled(self) -> None:
        """Counts the trials that an earlier driver cancelled as done, because the phase is over."""
        self._done += self.cancelled

    def recover(self, number: int) -> Result | None:
        """The result of a trial that finished before its executor was lost, if there is one."""
        try:
            trial = read_trial(self._search.run, trial_file(number))
        except (FileNotFoundError, Malformed):
            return None
        if trial.number != number or trial.status == "cancelled":
            return None
        return {**document(self._job, trial), "written": True}

    def finish(
        self,
        number: int,
        params: TrainingParams,
        result: Result,
        *,
        launched: datetime | None,
        repeats: int | None,
    ) -> TrialResult:
        """Writes a trial that has ended, and passes it on.

        Args:
            number: The trial's number.
            params: Its configuration.
            result: Its result for Hyperopt.
            launched: When it was launched; None if it never was.
            repeats: The number of the trial that it repeats, if any.

        Raises:
            Error: Too many trials in a row have failed.
        """
        if result.get("cancelled"):
            # It may have finished before the driver received its result.
            result = self.recover(number) or result
        if "trial" in result:
            trial = TrialResult.model_validate(result["trial"])
        else:
            trial = self._without_result(number, params, result, launched)
            trial = trial.model_copy(update={"repeats": repeats})
        if not result.get("written"):
            write_trial(self._search.run, trial)
        write_events(self._search.run, trial)
        self._search.on_trial(trial)
        if launched is not None:
            # A trial whose process died has not removed its own heartbeat.
            remove_progress(self._search.run, number)
        self._done.append(trial)
        self._drop_states()
        if trial.repeats is None:
            self.stopping.add(trial)
        return trial

    def _drop_states(self) -> None:
        """Removes what only a winner needs of trials that cannot win any more."""
        run, best = self._search.run, self.best()
        kept = possible_winners(self._phase, self._search.settings.final, self._done)
        # If no trial has run to its end, a pruned one is the best.
        kept |= set() if best is None else {best.number}
        drop_checkpoints(run, self._done, kept)
        drop_answers(run, self._done, kept)

    def _without_result(
        self, number: int, params: TrainingParams, result: Result, launched: datetime | None
    ) -> TrialResult:
        """A trial that returned no result, from what the driver knows about it."""
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
            started=launched or ended,
            ended=ended,
            error=result.get("refused") or result.get("error"),
        )
