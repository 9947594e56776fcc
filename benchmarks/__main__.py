"""Every benchmark, one table each, in turn: `python -m benchmarks`. Each runs alone: `python -m benchmarks.speed`.

    python -m benchmarks [NAME ...] [--write]

NAME is a benchmark or one of the groups `estimator` (against the peer and against exact values), `runs` (what it
promises of whole runs) and `cluster` (the service, and Ray). With --write the tables, and the machine that they are of,
go into benchmarks/RESULTS.md, where each benchmark has a section of its own; sections of benchmarks that were not run,
or that failed, stay as they are.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import torch

BENCHMARKS = {
    "speed": "chain-steps per second, over devinterp's own sampler",
    "memory": "peak memory and speed on a language model of a million parameters, over devinterp's own sampler",
    "cost": "processor seconds to know the LLC of 50 checkpoints to 5 %, over devinterp's own sampler",
    "bounds": "what a chain-step of the attention-only language model is made of, and what bounds it",
    "paired": "spread of the LLC over seeds, unpaired over paired",
    "exact": "LLCs of deep linear networks against their exact learning coefficients",
    "controls": "normal crossings, the superposition model's k-gons, logistic regression",
    "coverage": "how often 90 % intervals cover the exact LLC",
    "saddle_to_saddle": "stages of deep linear networks, labels against self",
    "service": "the service under 50 clients that poll and 20 that submit, while jobs run",
    "automatic": "automatic settings against documented ones: verdicts and stages of five runs",
    "scaling": "overhead, speed-up and memory over Ray, and 100,000 units as the driver sees them",
    "simulation": "1,000 nodes and 100,000 units: the real driver on a simulated cluster, against the model",
}
GROUPS = {
    "estimator": ("speed", "memory", "cost", "bounds", "paired", "exact", "controls"),
    "runs": ("coverage", "saddle_to_saddle", "automatic"),
    "cluster": ("service", "scaling", "simulation"),
}
RESULTS = Path(__file__).with_name("RESULTS.md")
TITLE = (
    "# Results of the benchmarks\n\nWritten by `python -m benchmarks --write`; the stage detector's are in STAGES.md.\n"
)


def machine() -> str:
    """The processor, the cores, the versions and the day, in one line."""
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else []
    return (
        f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores; Python "
        f"{platform.python_version()}, torch {torch.__version__}; {datetime.date.today()}"
    )


def run(name: str) -> str | None:
    """What the benchmark prints, shown as it comes; None if it failed."""
    lines: list[str] = []
    command = [sys.executable, "-u", "-m", f"benchmarks.{name}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    return None if process.returncode else "".join(lines)


def write(tables: dict[str, str], path: Path = RESULTS) -> None:
    """Replace these benchmarks' sections; the order is that of `BENCHMARKS`."""
    old = re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:] if path.exists() else []
    sections = {text.split(":", 1)[0]: text.rstrip() for text in old}
    for name, table in tables.items():
        sections[name] = f"{name}: {BENCHMARKS[name]}\n\n{machine()}\n\n```text\n{table.strip()}\n```"
    body = [f"## {sections[name]}\n" for name in BENCHMARKS if name in sections]
    path.write_text("\n".join([TITLE, *body]), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    everything = [*GROUPS, *BENCHMARKS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(everything)}; all if none is named")
    parser.add_argument("--write", action="store_true", help="into benchmarks/RESULTS.md")
    options = parser.parse_args()
    if unknown := set(options.names) - {*everything}:
        parser.error(f"no benchmark is named {', '.join(sorted(unknown))}; there are {', '.join(everything)}")
    asked = [name for given in options.names or GROUPS for name in GROUPS.get(given, (given,))]
    failed = []
    for name in asked:
        print(f"\n== {name}: {BENCHMARKS[name]}\n", flush=True)
        table = run(name)
        if table is None:
            failed.append(name)
        elif options.write:
            write({name: table})
    print(f"\nfailed: {', '.join(failed)}" if failed else "\nall benchmarks ran")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
