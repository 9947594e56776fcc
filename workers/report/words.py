"""Numbers and lists as a reader says them."""

from __future__ import annotations

import math
from collections.abc import Sequence


def step_text(step: float) -> str:
    """A step to three significant digits, thousands separated: 40,100."""
    if not math.isfinite(step):
        return "unknown"
    if step and abs(step) < 100:
        return f"{step:.3g}"
    digits = len(str(int(abs(step)))) - 3
    return f"{round(step, -max(digits, 0)):,.0f}"


def exact_step(step: float) -> str:
    """A checkpoint's step in full: 123,456."""
    return f"{step:,.0f}" if step.is_integer() else f"{step:g}"


def interval(low: float, high: float) -> str:
    """Two steps as a range: 900 to 1,100."""
    return f"{step_text(low)} to {step_text(high)}"


def number(value: float, *, signed: bool = False) -> str:
    """A quantity to three significant digits, with a true minus sign."""
    if not math.isfinite(value):
        return "n/a"
    sign = "+" if signed else ""
    large = 1000 <= abs(value) < 1e7
    text = f"{value:{sign},.0f}" if large else f"{value:{sign}#.3g}".rstrip(".") if value else "0"
    return text.replace("-", "−")


def decades(value: float) -> str:
    """A signed distance in decades, to two places."""
    return f"{value:+.2f}".replace("-", "−")


def probability(value: float) -> str:
    """A probability to two digits; certainty is never claimed from a finite number of draws."""
    return ">0.99" if value > 0.995 else f"{value:.2f}"


def p_value(value: float) -> str:
    """A p-value to two significant digits."""
    return "<0.001" if value < 0.001 else f"{value:.2g}"


def count(quantity: int, noun: str) -> str:
    """'1 stage', '4 stages', 'no stages'."""
    return f"{quantity or 'no'} {noun}{'' if quantity == 1 else 's'}"


def listed(items: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def first_upper(text: str) -> str:
    """The text with its first letter in upper case, the rest as it is."""
    return text[:1].upper() + text[1:]
