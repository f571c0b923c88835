"""Files, locks, errors and text: what every other package builds on.

This package knows nothing of images, networks or Spark. It writes files completely or not at all
(`directory`, `commit`), lets one process at a time write to a directory (`lock`), reads files that
cannot be trusted (`documents`), and reports errors in one line (`errors`, `failure_reason`, `cli`).
"""
