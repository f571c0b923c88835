"""The driver decides what runs next.

`run_search` is a whole run; its phases (`phases`, `phase`) draw configurations from a `space` by
`strategies` and give them to the `dispatcher`, Hyperopt's SparkTrials with each trial a Spark task
of its own. `stopping` ends a phase, `winner` chooses, `journal` lets a killed run go on, and
`progress` shows how far it is.
"""
