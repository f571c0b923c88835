"""Sessions, slots and supervised tasks: what this program needs of Spark, whatever runs in it.

A `session` is built or taken over, `slots` counts what can run at a time, and `launch` runs one
task, again where its executor was lost. On the executor a `task` does its work in a `child`
process, with the GPUs that are its own (`gpus`), forked from the `daemon`.
"""
