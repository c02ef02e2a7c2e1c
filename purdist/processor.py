"""The processor, and what Paddle has to be told of it.

Paddle's matrix products are those of an MKL that takes its generic kernels on AMD processors, 2.6
to 4.8 times slower than they need be, unless it finds ``MKL_DEBUG_CPU_TYPE=5`` in the environment
at its first product. The environment is the process's: the library looks, and sets nothing.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

VARIABLE = "MKL_DEBUG_CPU_TYPE"


@cache
def model() -> str:
    """What the processor is called, with its maker; nothing where Linux does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return " ".join(told[key] for key in ("vendor_id", "model name") if key in told)


def has_generic_products() -> bool:
    """Whether products run on generic kernels: what was set too late is not noticed."""
    return "AuthenticAMD" in model() and os.environ.get(VARIABLE) != "5"


def set_for_own_process() -> None:
    """Lets products run as fast as they can: for programs, not for the library."""
    if "AuthenticAMD" in model():
        os.environ.setdefault(VARIABLE, "5")
