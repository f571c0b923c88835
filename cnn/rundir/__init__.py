"""Reads and writes the files of a run directory, each with one schema.

`trials` handles RUN/trials/00017.json, `result` handles RUN/result.json with the scores of
`metrics`, `finished` reads both with the settings, `suspects` handles RUN/suspects.csv, `extension`
handles what a finished run that goes on has beside its result, and `heartbeat` handles the progress
of running trials. `front` says which trials are the best for what they cost.
"""
