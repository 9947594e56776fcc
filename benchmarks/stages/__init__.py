"""The evaluation bench of the stage detector: us and the peers on the same curves, `python -m benchmarks.stages`.

Positions are in decades, log10 of the step, everywhere in this package (on a linear axis the curve's whole span
counts as five, as the detector has it). Knobs of every method are set on the even seeds of the generators and
scored on the odd ones.
"""
