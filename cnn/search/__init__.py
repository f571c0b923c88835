"""The search on the driver: which trial runs next, until the winner is trained and tested.

`run_search` is a whole run and `run_phases` its phases in order; a `phase` searches, then confirms
its best trials (`phase_rounds`). Configurations are drawn from a `space` by the `strategies`, and
the `dispatcher` runs each trial as one Spark task. `limits` refuses too large networks, `stopping`
ends a phase early, and `saturation` says when more trials would find nothing. `winner` chooses the
best trial, `simplest` the cheapest of those as good, and `continued` says whether fine-tuning was
worth it. `train_winner` and `front_networks` have networks trained at last. `journal` makes a
killed run resumable, and `extension` lets a finished run go on. `end_run` puts the result in its
place. `progress` shows how far the trials are, `tensorboard` and `mlflow` log them.
"""
