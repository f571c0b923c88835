"""Training on an executor, from a job to its result.

A `job` is what an executor is told. A `trial` trains one configuration (`fit`, `fit_parts`) on
`batches` and may stop at a rung (`halving`). `final` trains the winner, alone or on several
executors (`multi_worker`, `several_machines`), saves it, and tests it once (`test_set`). `scores`
has the loss and the confusion matrix, `objective` the other scores that may rank trials. What
networks say of images that were held out (`out_of_fold`) tells which labels are probably wrong
(`label_errors`, `suspects`). A `checkpoint` lets another process continue a training. Drivers
import this package too, so TensorFlow is imported inside functions.
"""
