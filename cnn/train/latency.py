"""How long a network takes for one image.

Keras is imported by what is called because the driver imports this module too.
"""

import math
import time
from typing import TYPE_CHECKING

import numpy as np

from cnn.settings.params import TrainingParams
from cnn.train.job import Job
from cnn.train.save_winner import saveable

if TYPE_CHECKING:
    import keras

# The first ones trace and compile.
_CALLS = 30


def measure_latency(job: Job, params: TrainingParams, seed: int, model: "keras.Model") -> float:
    """Measures a network on the device and with the cores that its trial has.

    What is measured is the network as it would be saved: from uint8 pixels, in float32, and with
    its backbone. Its weights do not matter.

    Args:
        job: What the executor is told.
        params: The configuration.
        seed: The seed of its weights.
        model: The network of the configuration's last stage.

    Returns:
        Milliseconds for one image alone, with Keras's own `predict_on_batch`: those of the fastest
        of 30 calls, which other work on the machine disturbs least.
    """
    network = saveable(job, params, seed, model)
    size, channels = job.manifest.size, job.manifest.channels
    image = np.zeros((1, size, size, channels), np.uint8)
    fastest = math.inf
    for _ in range(_CALLS):
        began = time.perf_counter()
        network.predict_on_batch(image)
        fastest = min(fastest, time.perf_counter() - began)
    return round(1000 * fastest, 4)
