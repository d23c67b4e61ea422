"""The command that installs an optional dependency into the Python environment in which epochd runs.

epochd is installed from a clone or a wheel and is on no package index. A command therefore never names epochd and an
extra, but the packages of the extra.
"""

import shlex
import sys
from importlib.util import find_spec

PACKAGES = {
    "torch": ("torch>=2.5",),
    "tensorflow": ("tensorflow>=2.18", "keras>=3.6"),
    "jax": ("jax>=0.8", "optax>=0.2.4"),
    "postgres": ("psycopg[binary]>=3.2",),
    "ray": ("ray[default]>=2.50",),
    "storage": ("obstore>=0.6",),
    "mlflow": ("mlflow-skinny>=3", "pandas>=2.2"),
    "tensorboard": ("tensorboard>=2.16",),
}
"""Extra → what it contains, the same as in ``pyproject.toml``."""
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""PyTorch's package index for CPUs only: a tenth of the download, which on Linux contains CUDA otherwise."""


def install_command(extra: str) -> str:
    """The shell command that installs an extra's packages for this interpreter, with uv if there is no pip."""
    if find_spec("pip") is not None:
        command = [sys.executable, "-m", "pip", "install"]
    else:
        command = ["uv", "pip", "install", "--python", sys.executable]
    return shlex.join([*command, *PACKAGES[extra]])


def framework_advice(extra: str) -> str:
    """What to do where a framework is missing, as one sentence."""
    cpu = f" (without a GPU add --index-url {CPU_INDEX}, a far smaller download)" if extra == "torch" else ""
    return f"On the server run: {install_command(extra)}{cpu}"
