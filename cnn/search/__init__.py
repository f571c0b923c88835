"""The search on the driver: which trial runs next, until the winner is trained and tested.

`run_search` is a whole run. Its phases (`phases`, `phase`, `rounds`) draw configurations from a
`space` with the `strategies` and pass them to the `dispatcher`, which runs each trial as one Spark
task. `stopping` ends a phase early, `winner` chooses the best trial, `journal` makes a killed run
resumable, and `progress` shows how far the trials are.
"""
