"""Whether mixed precision can be of any use on a CPU; asked by the server too, so without any framework."""

from pathlib import Path

CPU_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Names in /proc/cpuinfo (x86, x86, ARM) of instructions that multiply bfloat16."""
CPU_FRAMEWORKS = frozenset({"pytorch"})
"""Engines whose framework uses them. XLA, under TensorFlow and JAX, was no faster in bfloat16 on any CPU tried."""


def cpu_refusal(framework: str) -> str:
    """Why an engine cannot gain from bfloat16 on this machine's CPU; empty if it may, depending on the model."""
    if not cpu_flags() & CPU_BF16_FLAGS:
        return "this CPU has no bfloat16 arithmetic, which mixed precision on a CPU needs"
    if framework not in CPU_FRAMEWORKS:
        return f"{framework} computes bfloat16 no faster than float32 on a CPU"
    return ""


def cpu_flags() -> set[str]:
    """Instruction sets of the CPU as Linux names them; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split(":")[1].split()) for line in lines if line.startswith(("flags", "Features"))), set())
