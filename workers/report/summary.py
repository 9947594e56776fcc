"""The report's first paragraph: what was found, in words."""

from __future__ import annotations

from slt.trajectory import VerdictKind
from workers.report.folder import JobRecord
from workers.report.tables import verdict_counts
from workers.report.words import count, exact_step, first_upper, interval, listed, probability, step_text


def summary(job: JobRecord) -> str:
    """Stages, boundaries, events seen, and what speaks against trusting them."""
    return " ".join(sentence for sentence in (_stages(job), _events(job), _trust(job), _failures(job)) if sentence)


def _stages(job: JobRecord) -> str:
    trajectory, stages = job.trajectory, job.stages
    if trajectory is None:
        return "No checkpoint was estimated."
    unit = trajectory.step_unit
    where = f"{unit}s {exact_step(float(trajectory.steps[0]))} to {exact_step(float(trajectory.steps[-1]))}"
    if stages is None:
        return f"The LLC was estimated at {count(len(trajectory), 'checkpoint')} ({where}); no stages were detected."
    kinds = ", ".join(stage.kind for stage in stages.stages)
    over = f"Over {count(len(trajectory), 'checkpoint')} ({where})"
    passed = f"{over} the LLC passes through {count(len(stages.stages), 'stage')}"
    if not stages.boundaries:
        text = f"{passed} ({kinds}): there is no boundary with a probability of one half or more."
    else:
        at = listed(
            [
                f"{step_text(each.step)} ({interval(each.low, each.high)}; {probability(each.probability)})"
                for each in stages.boundaries
            ]
        )
        noun = "a boundary" if len(stages.boundaries) == 1 else "boundaries"
        text = f"{passed} ({kinds}), with {noun} at {unit} {at}; in brackets the 90 % interval and the probability."
    if stages.tentative:
        steps = listed([step_text(boundary.step) for boundary in stages.tentative])
        text += f" Tentative, with probability under one half: {steps}."
    return text


def _events(job: JobRecord) -> str:
    comparison = job.comparison
    if comparison is None:
        return ""
    given = {(event.group, event.name) for event in job.given_events}
    sightings = [sighting for sighting in comparison.sightings if (sighting.group, sighting.event) in given]
    if not sightings:
        return ""
    seen = [f"“{sighting.event}”" for sighting in sightings if sighting.seen]
    copies = [f"“{sighting.event}”" for sighting in sightings if sighting.same_signal]
    missed = [f"“{sighting.event}”" for sighting in sightings if not sighting.seen and not sighting.same_signal]
    number = {0: "none", len(sightings): "all"}.get(len(seen), str(len(seen)))
    text = f"Of {count(len(sightings), 'event')}, the LLC saw {number}"
    text += f" within {comparison.tolerance:g} decades ({listed(seen)})" if seen else ""
    text += f"; it did not see {listed(missed)}" if missed and seen else ""
    text += f"; {listed(copies)} cannot count, being the same signal as the LLC" if copies else ""
    return f"{text}."


def _trust(job: JobRecord) -> str:
    counts = dict(verdict_counts(job))
    total, fine = sum(counts.values()), counts.pop(VerdictKind.OK, 0)
    if not total:
        return ""
    if fine == total:
        return "All estimates passed their diagnostics."
    reasons = listed([f"{quantity} {kind.value}" for kind, quantity in counts.items()])
    if not fine:
        return f"None of {count(total, 'estimate')} passed the diagnostics: {reasons}."
    return f"Of {count(total, 'estimate')}, {total - fine} did not pass the diagnostics: {reasons}."


def _failures(job: JobRecord) -> str:
    if not job.failures:
        return ""
    return first_upper(
        f"{count(len(job.failures), 'item')} failed and {'is' if len(job.failures) == 1 else 'are'} listed below."
    )
