"""Mixed precision: which number format a device computes in, if it gains from one; weights stay float32."""

import torch

from epochd.core.errors import InvalidSpec, Problem
from epochd.engines.requirements import cpu_bf16_obstacle
from epochd.engines.torch_engine import networks
from epochd.loop.engine import Setup

CPU_BF16_FLOPS = {"mlp": 2e8, "cnn": 1e9, "lstm": 2e8}
"""Work of one batch (``torch_models.grain``) from which bfloat16 pays on a CPU that has it. Step times in ms,
float32 / bfloat16, one thread of a Zen 5: mlp 256-128-64-32 (9e7) 1.3 / 1.2, 512-512 (4e8) 10.6 / 3.1,
1024-1024 (2e9) 18.8 / 7.5; cnn 64-64 (3e8) 6.6 / 6.5, 256-256 (4e9) 47 / 31; lstm 256 (2e8) 82 / 50."""


def autocast_type(setup: Setup, device: torch.device) -> torch.dtype | None:
    """bfloat16, float16 (GPUs without bfloat16), or None for plain float32.

    Raises InvalidSpec where mixed precision was asked for and would only cost time.
    """
    if not setup.spec.mixed_precision:
        return None
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    reason = refusal(setup)
    if reason:
        raise InvalidSpec([Problem("mixed_precision", reason, "leave it out: float32 is the fast choice here")])
    return torch.bfloat16


def refusal(setup: Setup) -> str:
    """Why bfloat16 does not help on this CPU; empty if it does."""
    if reason := cpu_bf16_obstacle("pytorch"):
        return reason
    needed = CPU_BF16_FLOPS.get(setup.spec.model_type)
    if needed is None:
        return f"PyTorch has no bfloat16 {setup.spec.model_type} that is faster on CPU"
    if networks.grain(setup) < needed:
        return "the model is too small to gain from bfloat16 on CPU: converting costs more than multiplying saves"
    return ""
