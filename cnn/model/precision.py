"""The precision in which a network computes: bfloat16 if the hardware has units for it.

bfloat16 means mixed precision: weights, the last layer and the loss stay float32.
"""

import os
import subprocess
from pathlib import Path
from typing import Literal

from cnn.settings.schema import Precision

# The first NVIDIA GPUs with bfloat16 units (Ampere).
_CAPABILITY = 8.0
_CPU_FLAGS = {"avx512_bf16", "amx_bf16"}


def resolve(precision: Precision, device: str) -> Literal["float32", "bfloat16"]:
    """The precision to use on `device`, which is Keras's name of it, such as "gpu:0"."""
    if precision != "auto":
        return precision
    return "bfloat16" if _has_units(device) else "float32"


def policy(precision: Literal["float32", "bfloat16"]) -> str:
    """Keras's dtype policy for a precision."""
    return "mixed_bfloat16" if precision == "bfloat16" else precision


def _has_units(device: str) -> bool:
    kind = device.partition(":")[0].lower()
    if kind == "cpu":
        return bool(_CPU_FLAGS & cpu_flags())
    if kind in {"gpu", "cuda"}:
        return _gpu_capability() >= _CAPABILITY
    return kind == "tpu"


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """The flags of this machine's processor in Linux; empty on other systems."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())


def _gpu_capability() -> float:
    """The compute capability of the first GPU that this process may use; 0 if not NVIDIA's."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or "0"
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader", "-i"]
    try:
        answer = subprocess.run(
            [*query, visible.split(",")[0]], capture_output=True, text=True, timeout=30, check=True
        )
        return float(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return 0.0
