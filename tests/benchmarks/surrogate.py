"""A surrogate benchmark: what a training of any configuration would come to, by recorded ones.

Eggensperger et al., Efficient Benchmarking of Hyperparameter Optimizers via Surrogates (AAAI 2015):
a model of recorded trainings answers in the place of trainings, for any point of the space. Here it
is a random forest. Its answer is that of one of its trees, drawn at random: a recorded training
that is like the configuration, and with another draw another one. Over the draws these are the
results that such trainings have (Meinshausen, Quantile Regression Forests, 2006): they vary little
where trainings near by are alike. What the forest does not know is in them as well as what another
seed changes, so they vary more than real trainings. The mean of all trees varies not at all; what
holds with both holds in between.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import KFold, cross_val_predict
from tables import Table, Training

from cnn.rundir.trials import scalar_objective
from cnn.settings.params import TrainingParams

_TREES = 100


class Answer(NamedTuple):
    """What a training comes to, and how long it takes."""

    # By which strategies rank: 1 less the validation accuracy of the best epoch, ties by its loss.
    loss: float
    seconds: float


class Surrogate:
    """The forests of a table: one of the results of trainings, and one of how long they take."""

    def __init__(self, table: Table) -> None:
        self._table = table
        # The values of a parameter that are no numbers, each with a number of its own.
        self._codes: dict[str, list[Any]] = {}
        for name in sorted(table.trainings[0].params):
            values = {training.params[name] for training in table.trainings}
            if not all(isinstance(value, int | float) for value in values):
                self._codes[name] = sorted(values)
        self._points = self._encoded([training.params for training in table.trainings])
        self._results = np.array([self._result(training) for training in table.trainings])
        seconds = [
            training.seconds * max(training.epochs, default=1) for training in table.trainings
        ]
        self._quality = _forest().fit(self._points, self._results)
        self._length = _forest().fit(self._points, np.log(seconds))

    def answer(self, params: TrainingParams, seed: int | None) -> Answer:
        """The result of a training; with another seed, that of another training.

        Without a seed it is that in the middle of all trainings: the mean of all trees.
        """
        point = self._encoded([params.model_dump()])
        quality, length_of = self._quality, self._length
        if seed is not None:
            # Not the stream that drew the configuration with the same seed.
            tree = np.random.default_rng([seed, 1]).integers(_TREES)
            quality, length_of = quality.estimators_[tree], length_of.estimators_[tree]
        error, loss, _ = quality.predict(point)[0]
        key = self._error(error, self._table.validation), math.exp(loss)
        return Answer(scalar_objective(key), math.exp(length_of.predict(point)[0]))

    def test_accuracies(self, params: Sequence[TrainingParams]) -> np.ndarray:
        """The accuracy on the test set that trainings of some configurations have in the middle."""
        errors = self._quality.predict(self._encoded([one.model_dump() for one in params]))[:, 2]
        return 1 - np.array([self._error(error, self._table.test) for error in errors])

    def trust(self) -> tuple[float, float]:
        """How far to trust it: R² and Spearman's rank correlation in a ten-fold cross-validation.

        Both are of the logarithm of the error on the validation images.
        """
        from scipy.stats import spearmanr
        from sklearn.metrics import r2_score

        folds = KFold(10, shuffle=True, random_state=0)
        predicted = cross_val_predict(_forest(), self._points, self._results, cv=folds)[:, 0]
        known = self._results[:, 0]
        return float(r2_score(known, predicted)), float(spearmanr(known, predicted).statistic)

    def _encoded(self, params: Sequence[dict[str, Any]]) -> np.ndarray:
        """The configurations as numbers; trees need no scaling of them."""
        names = sorted(params[0])
        return np.array(
            [
                [
                    self._codes[name].index(one[name]) if name in self._codes else one[name]
                    for name in names
                ]
                for one in params
            ],
            float,
        )

    def _result(self, training: Training) -> list[float]:
        """What the first forest learns: logarithms of the error, the loss and the test error.

        A training that diverged has all images wrong, so that it is worse than any other.
        """
        error, loss, test_error = 1.0, math.log(1e3), 1.0
        if training.status == "ok":
            look = training.best(len(training.epochs) - 1)
            error, loss = 1 - training.val_accuracy[look], math.log(training.val_loss[look] + 1e-9)
            test_error = 1 - training.test_accuracy[look]
        # Half an image more, because the logarithm of no error is not finite.
        return [
            math.log(error + 0.5 / self._table.validation),
            loss,
            math.log(test_error + 0.5 / self._table.test),
        ]

    @staticmethod
    def _error(logarithm: float, images: int) -> float:
        return max(0.0, math.exp(logarithm) - 0.5 / images)


def _forest() -> RandomForestRegressor:
    return RandomForestRegressor(_TREES, max_features=0.5, random_state=0)
