"""What a measurement was made on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import psutil

from keepstate._base.clock import SYSTEM_CLOCK

PACKAGES = (
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "torch",
    "ipykernel",
    "joblib",
    "dill",
    "blosc2",
    "obstore",
)


def about() -> dict[str, str]:
    """The date, the machine and the versions."""
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GiB"
    return {
        "date": SYSTEM_CLOCK.utc_now().strftime("%Y-%m-%d"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {memory}, Linux {platform.release()}",
        "versions": ", ".join(
            [f"Python {platform.python_version()}", *filter(None, map(_version, PACKAGES))]
        ),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str | None:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return None
