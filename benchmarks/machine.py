"""What a result was measured on: machine, versions, commit, date."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from pipeline.embedded_kafka.runtime import find_java

PACKAGES = ("faust-streaming", "aiokafka", "confluent-kafka", "fastavro", "duckdb")
ROOT = Path(__file__).parents[1]


def describe() -> dict[str, Any]:
    """Return the machine, the versions and the date of a run."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _answer("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"),
        "changed_files": len(_answer("git", "-C", str(ROOT), "status", "--porcelain", "--", "*.py").splitlines()),
        "machine": {
            "cores": os.cpu_count(),
            "processor": _processor(),
            "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
            "system": platform.platform(terse=True),
            "load_before": [round(value, 2) for value in os.getloadavg()],
        },
        "versions": {
            "python": sys.version.split()[0],
            **{name: version(name) for name in PACKAGES},
            "kafka": _kafka(),
            "java": subprocess.run([find_java(), "-version"], capture_output=True, text=True, check=True).stderr.split(
                '"'
            )[1],
        },
    }


def _answer(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _kafka() -> str:
    pom = (ROOT / "deploy" / "kafka" / "pom.xml").read_text()
    return pom.partition("<kafka.version>")[2].partition("</kafka.version>")[0]
