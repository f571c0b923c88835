"""The files of a run directory: each with one schema, written and read here.

`trials` are RUN/trials/00017.json, `result` is RUN/result.json, `finished` is both of them with the
settings, `heartbeat` says how far running trials are.
"""
