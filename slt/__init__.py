"""The theory: trajectories, learning coefficients, stages, events. numpy and scipy; no torch, no ray."""
