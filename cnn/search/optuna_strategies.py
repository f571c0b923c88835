"""Strategies of Optuna behind Hyperopt's interface: which configuration to propose next.

At each proposal an Optuna study is made anew, in memory, from the trials that are known, and asked
once with a sampler that has its own seed. So a proposal follows from the seed and the known trials
alone, as with the other strategies, and a search can be resumed by whoever knows its trials.

Optuna is imported inside the functions, because it is an extra that few searches need.
"""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from statistics import NormalDist
from typing import Any

import numpy as np
from hyperopt import base

from cnn.core.errors import InputError
from cnn.search.hyperopt_documents import document_of
from cnn.search.hyperopt_rules import loss_of

# What each strategy imports, and how it is installed.
_EXTRA = "pip install 'spark-cnn-search[optuna]'"
_PACKAGES = {
    "optuna-tpe": {"optuna": _EXTRA},
    # PyTorch is not in the extra because it is large.
    "optuna-gp": {"optuna": _EXTRA, "torch": "pip install torch"},
    "cmaes": {"optuna": _EXTRA, "cmaes": _EXTRA},
}
STRATEGIES = tuple(_PACKAGES)


def check_installed(strategy: str) -> None:
    """Raises InputError if a package that a strategy needs is not installed."""
    for package, command in _PACKAGES.get(strategy, {}).items():
        if find_spec(package) is None:
            raise InputError(
                f"search.strategy = {strategy!r} needs {package}, which is not installed: {command}"
            )


def suggest(
    new_ids: list[int], domain: base.Domain, trials: base.Trials, seed: int, *, strategy: str
) -> list[dict[str, Any]]:
    """The next proposal, as a Hyperopt algorithm.

    Args:
        new_ids: The number of the new trial, alone in a list.
        domain: The search space.
        trials: The known trials; at least one has ended.
        seed: The seed of this proposal.
        strategy: One of STRATEGIES.
    """
    import optuna

    from cnn.search.optuna_space import OptunaSpace

    (number,) = new_ids
    space = OptunaSpace(domain)
    with _quiet():
        study = optuna.create_study(sampler=_sampler(strategy, seed))
        study.add_trials(_optuna_trials(trials.trials, space))
        vals = space.ask(study.ask())
    return [document_of(number, vals, domain.new_result(), base.JOB_STATE_NEW)]


def _sampler(strategy: str, seed: int) -> Any:
    """The sampler of a strategy, which begins to learn at once: start-up trials are over."""
    from optuna.samplers import GPSampler, TPESampler

    if strategy == "cmaes":
        from cnn.search.optuna_cmaes import CmaEsSampler

        return CmaEsSampler(seed)
    if strategy == "optuna-gp":
        # What only some trials have is no dimension of the Gaussian process.
        others = TPESampler(n_startup_trials=0, seed=seed)
        return GPSampler(
            n_startup_trials=0,
            independent_sampler=others,
            seed=seed,
            warn_independent_sampling=False,
        )
    return TPESampler(
        n_startup_trials=0,
        multivariate=True,
        # Variables that occur together are drawn together, those of other networks apart.
        group=True,
        # A trial that still runs counts as a bad one, so that its neighbourhood is left alone.
        constant_liar=True,
        seed=seed,
    )


def _optuna_trials(documents: Sequence[dict[str, Any]], space: Any) -> list[Any]:
    """The trials that have ended, each with its score as its value, and those that still run."""
    from optuna.trial import TrialState, create_trial

    known = sorted(documents, key=lambda document: document["tid"])
    ended = [document for document in known if document["state"] == base.JOB_STATE_DONE]
    running = {base.JOB_STATE_NEW, base.JOB_STATE_RUNNING}

    def made(document: dict[str, Any], state: TrialState, score: float | None = None) -> Any:
        params = space.params(document["misc"]["vals"])
        distributions = space.distributions(params)
        return create_trial(state=state, value=score, params=params, distributions=distributions)

    return [
        *(made(document, TrialState.COMPLETE, score) for document, score in _scored(ended)),
        *(made(document, TrialState.RUNNING) for document in known if document["state"] in running),
    ]


def _scored(ended: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], float]]:
    """Trials with the scores that Optuna sees: normal quantiles of the places of their losses.

    The losses of trials that were stopped early, which are far beyond the others', only say who got
    further, and failed trials have none and come last. A Gaussian process of such numbers would
    see nothing else. Places are also all that earlier runs have in common with this one; TPE
    and CMA-ES use only the order in any case. Equal losses share the middle of their places.
    """
    losses = np.array([loss_of(document["result"]) for document in ended])
    _, which, counts = np.unique(losses, return_inverse=True, return_counts=True)
    middles = (np.cumsum(counts) - counts / 2) / max(1, len(losses))
    scores = [NormalDist().inv_cdf(middles[index]) for index in which]
    return list(zip(ended, scores, strict=True))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's log of each study, and its warnings of how it works."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(level, optuna.logging.ERROR))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
