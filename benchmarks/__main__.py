"""Every benchmark, one table each, in turn: `python -m benchmarks`. Each runs alone: `python -m benchmarks.speed`."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = {
    "speed": "chain-steps per second, over devinterp's own sampler",
    "paired": "spread of the LLC over seeds, unpaired over paired",
    "saddle_to_saddle": "stages of deep linear networks, labels against self",
    "automatic": "automatic settings against documented ones: verdicts and stages of five runs",
}


def main() -> int:
    failed = []
    for name, what in BENCHMARKS.items():
        print(f"\n== {name}: {what}\n", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            failed.append(name)
    print(f"\nfailed: {', '.join(failed)}" if failed else "\nall benchmarks ran")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
