"""Environment variables of the Python processes on executors."""

from cnn.spark.daemon import PRELOAD
from cnn.spark.machine import KERAS

# Of all of them, whatever the user's own environment has: a warning that is an error there could
# end a search in its last minute.
PYTHON_ENVIRONMENT = {"PYTHONWARNINGS": ""}
# What no training works without, so that a user's own values are replaced.
FORCED_ENVIRONMENT = {"KERAS_BACKEND": KERAS["backend"], **PYTHON_ENVIRONMENT}
# Of those that compute; glibc reads its variables when a process starts.
EXECUTOR_ENVIRONMENT = {
    **FORCED_ENVIRONMENT,
    PRELOAD: "cnn.model.network,cnn.train.fit,cnn.train.trial",
    # Errors are raised as exceptions too; the rest is about hardware that the host does not have.
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # By default TensorFlow uses oneDNN only if the CPU has AVX512. With AVX2 too it halves the time
    # of a training step, and saves a third of it for small networks, as measured.
    "TF_ENABLE_ONEDNN_OPTS": "1",
    # TensorFlow frees its large buffers after each operation. If glibc returns them to the kernel,
    # every operation has to wait for new pages: a third of a training step, as measured.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**26),
}
