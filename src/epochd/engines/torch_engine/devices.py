"""How PyTorch uses its device: number of threads, process-wide settings, and mixed precision.

In mixed precision a device computes in another number format if it gains from that; weights stay float32.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from epochd.core.errors import InvalidSpec, Problem
from epochd.engines.requirements import cpu_bf16_obstacle
from epochd.engines.torch_engine import distributed, networks
from epochd.loop.engine import Setup

THREAD_FLOPS = 2e8
"""``parallel_flops`` from which more than one CPU thread is faster. Thousand rows/s on two idle cores,
one thread / two: mlp 128-64-32, batch 32 (1e6) 115 / 26; mlp 256-128-64-32, batch 256 (9e7) 185 / 161;
mlp 512-512, batch 256 (4e8) 50 / 85; mlp 1024-1024, batch 256 (2e9) 14 / 25. On busy cores, two threads
were 3 to 20 times slower than one (waiting OpenMP threads spin), so the limit favours one."""
CPU_BF16_FLOPS = {"mlp": 2e8, "cnn": 1e9, "lstm": 2e8}
"""``parallel_flops`` from which bfloat16 is faster on a CPU that supports it. Step times in ms,
float32 / bfloat16, one thread of a Zen 5: mlp 256-128-64-32 (9e7) 1.3 / 1.2, 512-512 (4e8) 10.6 / 3.1,
1024-1024 (2e9) 18.8 / 7.5; cnn 64-64 (3e8) 6.6 / 6.5, 256-256 (4e9) 47 / 31; lstm 256 (2e8) 82 / 50."""


def configure(device: torch.device, threads: int) -> None:
    """Process-wide settings. Algorithms are deterministic, so that a resumed run equals an uninterrupted one."""
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("warn")  # as use_deterministic_algorithms, which imports the compiler: 2.5 s
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Disable TensorFloat-32, which a GPU uses for training only."""
    if device.type == "cpu":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True


def threads_for(setup: Setup) -> int:
    """One thread for small steps, which more threads would slow down; for large ones, a rank's share of the threads."""
    if setup.chosen_threads is not None:
        return setup.chosen_threads
    ranks, here = distributed.world_size(setup), distributed.local_ranks(setup)
    return max(1, setup.threads // here) if networks.parallel_flops(setup) / ranks >= THREAD_FLOPS else 1


def autocast_type(setup: Setup, device: torch.device) -> torch.dtype | None:
    """bfloat16, float16 (GPUs without bfloat16), or None for plain float32.

    Raises InvalidSpec if the spec asks for mixed precision and the device would not be faster.
    """
    if not setup.spec.mixed_precision:
        return None
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if reason := bf16_obstacle(setup):
        raise InvalidSpec([Problem("mixed_precision", reason, "leave it out: float32 is faster here")])
    return torch.bfloat16


def bf16_obstacle(setup: Setup) -> str:
    """Why bfloat16 is not faster on this CPU; empty if it is."""
    if reason := cpu_bf16_obstacle("pytorch"):
        return reason
    needed = CPU_BF16_FLOPS.get(setup.spec.model_type)
    if needed is None:
        return f"PyTorch has no bfloat16 {setup.spec.model_type} that is faster on CPU"
    if networks.parallel_flops(setup) < needed:
        return "the model is too small to gain from bfloat16 on CPU: conversion takes longer than multiplication saves"
    return ""
