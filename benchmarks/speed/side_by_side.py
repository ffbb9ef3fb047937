"""What the speed benchmarks share: processes measured from outside, interpreters of peers, results as JSON.

No numpy is imported here: the kernel counts the memory of a parent at the time of a fork as the child's.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def measure(command: list[str], cwd: Path) -> tuple[float, float]:
    """Wall seconds and peak megabytes of a process that runs in ``cwd``."""
    started = time.perf_counter()
    # Peers that write logs write them where they run.
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=cwd)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"exit code {child.returncode}: {' '.join(command)}")
    return time.perf_counter() - started, usage.ru_maxrss * 1024 / 1e6


def python_of(peer: str) -> str:
    """The interpreter that has the peer."""
    if peer == "plain":
        return sys.executable
    found = ROOT / ".peers" / peer / "bin" / "python"
    if not found.exists():
        raise SystemExit(
            f"expected an environment with {peer}; found none in .peers/{peer}. Build it: make peers"
        )
    return str(found)


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def facts(script: str) -> dict[str, Any]:
    """The command that made a result, and the machine."""
    return {
        "command": " ".join(["python", f"benchmarks/speed/{script}", *sys.argv[1:]]),
        "hardware": f"{processor()}, {len(os.sched_getaffinity(0))} cores",
    }


def write(result: dict[str, Any], path: Path | None) -> None:
    """One flat object, into a file or to standard output."""
    text = json.dumps(result, indent=1) + "\n"
    if path is None:
        sys.stdout.write(text)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
