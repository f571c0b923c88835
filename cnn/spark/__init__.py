"""Sessions, slots and supervised tasks: what this program needs from Spark, for any work.

A `session` is created or taken over, `slots` counts how many tasks can run at once, and `retry`
launches a task, again if its executor was lost. On the executor a `task` does its work in a `child`
process that is forked from the `daemon`, with GPUs of its own (`gpus`).
"""
