"""The peak memory of a command, measured in a process of its own."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path


def peak_memory(module: str, *arguments: str) -> tuple[str, float]:
    """Run a module's command line in a fresh process.

    The number is the kernel's high-water mark of the process itself. `ru_maxrss`, which `wait4` and
    GNU time give, is no use here: a child starts with that of the process that started it.

    Returns
    -------
    tuple of str and float
        What it printed, and its peak resident memory in MB.
    """
    with tempfile.TemporaryDirectory() as directory:
        note = Path(directory) / "peak"
        command = [sys.executable, "-m", __name__, str(note), module, *arguments]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if run.returncode:
            raise SystemExit(f"{module} ended with status {run.returncode}")
        return run.stdout, float(note.read_text())


def main() -> None:
    note, module, *arguments = sys.argv[1:]
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        status = Path("/proc/self/status").read_text()
        Path(note).write_text(str(int(re.findall(r"VmHWM:\s*(\d+) kB", status)[0]) / 1024))


if __name__ == "__main__":
    main()
