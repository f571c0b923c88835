"""One training on an executor, from a job to its result.

A `job` is what an executor is told. A `trial` fits one configuration (`fit`) on `batches` and stops
at rungs (`halving`); `final` trains the winner, alone or with other executors (`multi_worker`),
and `test_set` tests it once. TensorFlow is imported inside functions, since drivers import this
room too.
"""
