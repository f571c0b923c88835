"""A search on GPUs that do not exist, in a process of its own."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import pyspark

from support.jobs import clean_environment
from support.paths import REPOSITORY

TRIALS = 6
# An objective that says what it saw, and when.
SEARCH = """
    import os, sys, time
    import numpy as np
    from hyperopt import fmin, hp, rand
    from cnn.search.dispatcher import Trials
    from cnn.settings.schema import SearchSettings
    from cnn.spark.task import Isolation, trial_number

    def objective(x):
        started = time.time()
        time.sleep(0.5)
        gpu = os.environ.get("CUDA_VISIBLE_DEVICES")
        return {"loss": 0.0, "status": "ok", "saw": [gpu, started, time.time()]}

    settings = SearchSettings(**SETTINGS)
    slots = count_slots(spark.sparkContext, settings)
    isolation = Isolation(gpus=slots.gpus, trials_per_gpu=settings.trials_per_gpu)
    profile = task_profile(spark.sparkContext, settings.resource_profile)
    trials = Trials(spark, slots.total, isolation=isolation, profile=profile)
    fmin(objective, hp.uniform("x", 0, 1), rand.suggest, TRIALS, trials=trials,
         rstate=np.random.default_rng(0), show_progressbar=False)
    print(json.dumps({"slots": slots.total, "saw": [r["saw"] for r in trials.results]}))
"""


class Seen(NamedTuple):
    slots: int
    # What each trial found in CUDA_VISIBLE_DEVICES, when it began and ended.
    trials: list[tuple[str | None, float, float]]

    def gpus(self) -> set[str | None]:
        return {gpu for gpu, _, _ in self.trials}

    def together(self) -> int:
        """How many trials at most saw the same device at the same time."""
        return max(
            sum(gpu == other and begin <= start < end for other, begin, end in self.trials)
            for gpu, start, _ in self.trials
        )


def search(master: str, conf: dict[str, str], **settings: Any) -> Seen:
    options = [f"--master {master}", *(f"--conf {key}={value}" for key, value in conf.items())]
    code = SEARCH.replace("SETTINGS", repr(settings)).replace("TRIALS,", f"{TRIALS},")
    script = "import json\nfrom cnn.spark.session import TUNE, spark_session\n"
    script += "from cnn.spark.slots import count_slots, task_profile\n"
    script += f"with spark_session('gpus', TUNE) as spark:\n{textwrap.indent(code, '')}"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env=clean_environment()
        | {
            "PYSPARK_SUBMIT_ARGS": " ".join([*options, "pyspark-shell"]),
            "SPARK_HOME": str(Path(pyspark.__file__).parent),
            "SPARK_LOCAL_IP": "127.0.0.1",
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    return Seen(answer["slots"], [tuple(saw) for saw in answer["saw"]])
