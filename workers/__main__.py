"""`python -m workers`: the command `slt` on a cluster that has the code but not its scripts."""

from workers.cli import main

main()
