"""Files, locks, errors and words: what every other room stands on.

This room knows nothing of images, networks or Spark. It writes files whole or not at all
(`directory`, `commit`), lets one process at a time write to a directory (`lock`), reads what a
stranger may have written (`documents`), and says in one line what went wrong (`errors`, `cli`).
"""
