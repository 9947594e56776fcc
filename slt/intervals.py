"""Confidence intervals from a standard error over a few chains."""

from __future__ import annotations

from slt.errors import JobError


def student_factor(chains: int, level: float) -> float:
    """Half the width of a confidence interval in standard errors over C chains: Student's t with C - 1 degrees of
    freedom; the normal quantile for a single chain, whose error comes from its effective draws.

    Raises:
        JobError: a level that is not strictly between 0 and 1.
    """
    if not 0 < level < 1:
        raise JobError(f"the level of an interval is {level}; it must be between 0 and 1, such as 0.9")
    from scipy.stats import norm, t

    upper = 0.5 * (1 + level)
    return float(t.ppf(upper, chains - 1) if chains > 1 else norm.ppf(upper))
