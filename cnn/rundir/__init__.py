"""The files of a run directory: each with one schema, written and read here.

`trials` are RUN/trials/00017.json, `result` is RUN/result.json, `heartbeat` says how far running
trials are.
"""
