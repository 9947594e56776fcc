"""Colours and signs, the same on screen and in print: the palette of Okabe and Ito, told apart by the colour-blind.

No meaning rests on colour alone: kinds differ in sign, dash or word too.
"""

from slt.trajectory import VerdictKind

INK = "#1a1a1a"
GREY = "#6b6b6b"
GRID = "#e8e8e8"
CURVE = "#0072B2"
CHAIN = "#8fb4cc"
ONSET = "#009E73"
EVENT = "#D55E00"
MEASURE = "#444444"
STAGE = {"rise": "#F3C66B", "fall": "#A9D6F2", "flat": "#E3E3E3"}

# Kind of verdict -> colour, plotly's symbol, matplotlib's marker.
FLAG = {
    VerdictKind.DIVERGED: ("#000000", "x-thin-open", "x"),
    VerdictKind.CHAINS_DISAGREE: ("#CC79A7", "square-open", "s"),
    VerdictKind.DRIFTING: ("#CC79A7", "triangle-up-open", "^"),
    VerdictKind.BELOW_CHECKPOINT: ("#D55E00", "triangle-down-open", "v"),
    VerdictKind.SATURATED: ("#E69F00", "circle-open", "o"),
    VerdictKind.STEP_TOO_SMALL: ("#000000", "diamond-open", "D"),
    VerdictKind.STEP_TOO_LARGE: ("#E69F00", "hexagon-open", "h"),
    VerdictKind.FAILED: ("#000000", "cross-open", "P"),
}
