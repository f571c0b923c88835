"""Makes report.html of a run directory, or one page that compares several runs.

The page is one file that loads nothing from the network.

python -m cnn.report RUN                        makes the report of a run again
python -m cnn.report RUN RUN ... --out FILE     compares runs
"""

import shlex
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from cnn.core.cli import Parser
from cnn.core.directory import Directory, reachable
from cnn.core.errors import Error, InputError
from cnn.report import classes, plots, plots_search, verdict
from cnn.report.axes import varied
from cnn.report.comparison import render_comparison
from cnn.report.cost import fill_slots, phase_costs
from cnn.report.data_link import data_link
from cnn.report.front import front_view
from cnn.report.importance import FEWEST, importances, scored
from cnn.report.pictures import read_pictures
from cnn.report.plots_cost import gantt
from cnn.report.regimes import fine_tuning, regimes
from cnn.report.render import render
from cnn.rundir.extension import extension_lines
from cnn.rundir.finished import FinishedRun, read_run, searched
from cnn.rundir.result import PhaseResult, RunResult
from cnn.rundir.trial_clock import Clock
from cnn.rundir.trials import TrialResult, count_by_status, trial_key
from cnn.settings.objective import has_own_field, metric_words

REPORT = "report.html"
COMPARISON = "comparison.html"


def write_report(run: Directory) -> str:
    """Writes RUN/report.html from the files of the run directory; returns its path or URI."""
    run.write(REPORT, render_report(run).encode())
    return f"{run.uri}/{REPORT}"


def render_report(directory: Directory) -> str:
    """Renders the report as HTML. Raises InputError if there is no finished run."""
    run = read_run(directory)
    result = run.result
    validated = any(epoch.val_accuracy is not None for epoch in result.final.epochs)
    winner = run.winner()
    return render(
        "report.html.j2",
        result=result,
        checks=verdict.checks(run),
        versus=verdict.versus_baseline(result),
        confusion=classes.by_class(result),
        most_classes=classes.MOST_CLASSES,
        pairs=classes.pairs(result),
        selection=verdict.selection(run),
        extension=extension_lines(result),
        pictures=read_pictures(directory, result.data.classes),
        data_page=data_link(directory, result.data.fingerprint),
        model=run.settings.model,
        intervals={
            "search": verdict.trial_interval(winner) if winner else None,
            "final": verdict.interval_of(result.validation.accuracy, result.validation.count),
        },
        final_plots=plots.training("final", result.final.epochs, result.final.best_epoch),
        winner=winner,
        winner_plots=plots.training("winner", winner.epochs, winner.best_epoch)
        if winner and not validated
        else {},
        statuses=count_by_status(run.trials),
        phases=[_phase_view(place, phase, run) for place, phase in enumerate(run.phases())],
        regimes=regimes(run.trials),
        fine_tuning=fine_tuning(run.trials),
        table=_table(run),
        failures=_failures(run.trials),
        cost=_cost(run),
        tower=verdict.tower(result),
        command="\n".join(map(shlex.join, _commands(result))),
        settings=run.settings_text,
    )


def _commands(result: RunResult) -> list[tuple[str, ...]]:
    """The command of the run, then those that extended it."""
    return [*(final.command for final in result.earlier), result.command]


def _phase_view(place: int, phase: PhaseResult, run: FinishedRun) -> dict[str, Any]:
    own = [trial for trial in run.trials if trial.phase == phase.name]
    found = searched(own)
    settings = run.settings.phase(phase.name)
    space = settings.space
    known = importances(found, space)
    clock = Clock(own)
    important = [one.name for one in known.each[:2]] if known else []
    return {
        "phase": phase,
        "statuses": count_by_status(own),
        "repeats": len(own) - len(found),
        # With `min_steps`, trials with few steps per epoch get more epochs than the phase's.
        "longest": max((trial.max_epochs or 0 for trial in own), default=0),
        "interruptions": clock.interruptions,
        "progress": plots_search.progress(f"progress{place}", found, clock),
        "learning": plots_search.learning(f"learning{place}", found, phase.best),
        "parallel": plots_search.parallel(f"parallel{place}", found, phase.best, space),
        "front": front_view(f"front{place}", found, settings, run.result),
        "importances": known,
        "importance": plots_search.importance(f"importance{place}", known) if known else None,
        "marginals": {
            name: plots_search.marginal(f"marginal{place}-{rank}", name, found, space)
            for rank, name in enumerate(important)
        },
        "unimportant": None if known else _no_importance(found),
    }


def _no_importance(trials: Sequence[TrialResult]) -> str:
    """Why there are no importances."""
    known = scored(trials)
    if len(known) < FEWEST:
        return f"it takes at least {FEWEST} trials with a score, and there are {len(known)}."
    if not varied(known):
        return "all trials had the same parameters."
    return "all trials have the same validation accuracy."


def _cost(run: FinishedRun) -> dict[str, Any]:
    slots = fill_slots(run.trials)
    return {
        "gantt": gantt("gantt", slots),
        "slots": slots,
        "phases": phase_costs(run.trials, [phase.name for phase in run.phases()]),
    }


def _table(run: FinishedRun) -> dict[str, Any]:
    """The table of all trials: the winner's phase first, and the best trials of a phase first."""
    trials = run.trials
    phases = {phase.name: phase for phase in run.phases()}
    order = list(phases)

    def rank(trial: TrialResult) -> tuple[Any, ...]:
        key = trial_key(phases[trial.phase].objective, trial)
        later = -order.index(trial.phase)
        return (
            trial.phase != run.result.winner.phase,
            later,
            trial.repeats is not None,
            trial.status != "ok",
            key,
            trial.number,
        )

    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    different = varied(trials)
    return {
        "trials": sorted(trials, key=rank),
        "best": {phase.best for phase in phases.values()},
        "several_phases": len(phases) > 1,
        "sizes": any(trial.parameters is not None for trial in trials),
        "intervals": {
            trial.number: interval
            for trial in trials
            if (interval := verdict.trial_interval(trial)) is not None
        },
        "balanced": any(p.objective == "val_balanced_accuracy" for p in phases.values()),
        "objective": _objective_column(phases.values()),
        "varied": different,
        "same": {n: trials[0].params.get(n) for n in names if n not in different},
    }


def _objective_column(phases: Iterable[PhaseResult]) -> str | None:
    """What the objectives that are no accuracy and no loss are called; None if there are none."""
    names = {metric_words(p.objective) for p in phases if not has_own_field(p.objective)}
    return names.pop() if len(names) == 1 else "objective" if names else None


def _failures(trials: Iterable[TrialResult]) -> list[dict[str, Any]]:
    """Trials with an error, grouped by status and error."""

    def kind(trial: TrialResult) -> tuple[str, str]:
        return trial.status, (trial.error or "").strip()

    groups = []
    failed = sorted((trial for trial in trials if trial.error), key=kind)
    for (status, text), same_kind in groupby(failed, key=kind):
        alike = list(same_kind)
        summary, numbers = alike[0].cause(), [trial.number for trial in alike]
        groups.append({"status": status, "numbers": numbers, "summary": summary, "text": text})
    return sorted(groups, key=lambda group: group["numbers"])


def main(arguments: Sequence[str]) -> None:
    parser = Parser(
        prog="python -m cnn.report",
        description="Makes report.html of a run again, or a page that compares several runs.",
    )
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", help="a run directory, as jobs/tune.py made it"
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        help=f"where the comparison of several runs is written (default: {COMPARISON})",
    )
    options = parser.parse_args(arguments)
    runs = [reachable(run) for run in options.runs]
    if len(runs) > 1:
        print(_write_comparison(runs, options.out or Path(COMPARISON)))
        return
    if options.out is not None:
        parser.error("--out must be used with several runs, but only one RUN was given")
    try:
        print(write_report(runs[0]))
    except OSError as error:
        raise Error(
            f"{runs[0].uri} must be a folder to read from and write to, but: {error}"
        ) from None


def _write_comparison(runs: Sequence[Directory], out: Path) -> str:
    page = render_comparison([read_run(run) for run in runs])
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise InputError(f"--out must name a file in a folder that exists, but got {out}")
    target = Directory(out.absolute().parent)
    target.write(out.name, page.encode())
    return f"{target.uri}/{out.name}"
