"""What it would mean if nodes went down, in words."""

import textwrap
from collections.abc import Iterator

from pgtandem.cli.terminal import Paint
from pgtandem.model.words import duration_in_words, size_in_words
from pgtandem.plan.durability import called
from pgtandem.plan.whatif import Becomes, Loss, Outcome, Retention, WalRate, Writes

_INDENT = " " * 10


def whatif_lines(outcome: Outcome, cluster: str, paint: Paint, columns: int) -> list[str]:
    """First whether writes go on, then who would be promoted, what would be lost, and what becomes of the others."""
    lines = _filled(
        "", f"If {_listed(outcome.down)} went down now (cluster {cluster}, primary {outcome.primary}):", columns
    )
    lines = [paint.bold(line) for line in lines]
    if outcome.already:
        lines += _filled("already:  ", f"{_listed(outcome.already)}: no server answers there now", columns)
    colour = paint.green if outcome.writes is Writes.GO_ON else paint.red
    lines += [colour(line) for line in _filled("writes:   ", _writes(outcome), columns)]
    if outcome.after:
        lines += [paint.yellow(line) for line in _filled("", outcome.after, columns)]
    if outcome.writes is Writes.STOP:
        for number, text in enumerate(_promotion(outcome)):
            lines += _filled("" if number else "promote:  ", text, columns)
    if outcome.loss is not None:
        lines += _filled("lost:     ", _lost(outcome.loss), columns)
    for number, text in enumerate(_fates(outcome)):
        lines += _filled("" if number else "others:   ", text, columns)
    for number, text in enumerate(_kept(outcome)):
        lines += _filled("" if number else "WAL:      ", text, columns)
    return lines


def _listed(names: tuple[str, ...]) -> str:
    said = [called(name) for name in names]
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"


def _writes(outcome: Outcome) -> str:
    if outcome.writes is Writes.STOP and outcome.promoted is not None:
        return f"stop until {outcome.promoted} is promoted: {outcome.why}"
    if outcome.writes is Writes.STOP:
        return f"stop until {outcome.primary} is back: {outcome.why}"
    return f"{outcome.writes.value}: {outcome.why}"


def _promotion(outcome: Outcome) -> Iterator[str]:
    for candidate in outcome.candidates:
        if candidate.name in (*outcome.down, *outcome.already):
            continue
        if candidate.fit:
            best = candidate.name == outcome.promoted
            yield f"{candidate.name}: {'it' if best else 'could be; it'} has received WAL up to {candidate.received}"
        else:
            reasons = (f"{check.rule}: {check.value} (must be {check.threshold})" for check in candidate.objections)
            yield f"not {candidate.name}. {'; '.join(reasons)}"
    if all(candidate.name in (*outcome.down, *outcome.already) for candidate in outcome.candidates):
        yield "nobody: no other server runs"


def _lost(loss: Loss) -> str:
    if not loss.acknowledged:
        return f"no acknowledged commit: {loss.why}"
    if loss.size_bytes is None:
        return f"unknown: {loss.why}"
    if loss.size_bytes == 0:
        return f"nothing now: {loss.why}"
    time = "of an unknown time" if loss.seconds is None else f"of the last {duration_in_words(loss.seconds)}"
    return f"at most {size_in_words(loss.size_bytes)} of WAL {time}: {loss.why}"


def _fates(outcome: Outcome) -> Iterator[str]:
    """One line per node to which something happens; those that simply go on share one."""
    unharmed = []
    for fate in outcome.fates:
        if fate.becomes is Becomes.GOES_ON and fate.name != outcome.primary:
            unharmed.append(fate.name)
        elif fate.becomes is Becomes.FOLLOWS:
            yield f"{fate.name} follows {fate.upstream} then; {fate.why}"
        elif fate.becomes in (Becomes.BEHIND, Becomes.AHEAD):
            yield f"{fate.name} {fate.becomes.value}: {fate.why}"
        elif fate.becomes is Becomes.DOWN and fate.why:
            yield f"{fate.name}: {fate.why}"
    if unharmed:
        yield f"{_listed(tuple(unharmed))} {'goes' if len(unharmed) == 1 else 'go'} on as now"


def _kept(outcome: Outcome) -> Iterator[str]:
    for kept in outcome.retention:
        yield f"{kept.upstream} keeps WAL for {kept.name} (slot {kept.slot}): {_how_long(kept, outcome.rate)}"
    if outcome.retention:
        yield _rate(outcome.rate) + (", less while commits wait" if outcome.writes is Writes.WAIT else "")


def _rate(rate: WalRate | None) -> str:
    if rate is None:
        return "how fast WAL is written is not known"
    hourly = size_in_words(round(rate.bytes_per_second * 3600))
    return f"at {hourly} an hour, as written between two looks {rate.seconds:.1f} s apart"


def _how_long(kept: Retention, rate: WalRate | None) -> str:
    held = "an unknown amount" if kept.held_bytes is None else size_in_words(kept.held_bytes)
    parts = [f"{held} now"]
    if kept.cap_bytes is None:
        parts.append("no cap")
    else:
        parts.append(f"its cap of {size_in_words(kept.cap_bytes)} is {_reached(kept.cap_seconds, rate)}")
    if kept.free_bytes is None:
        parts.append("room on the disk unknown")
    elif kept.cap_seconds is None or (kept.full_seconds is not None and kept.full_seconds < kept.cap_seconds):
        parts.append(f"the disk ({size_in_words(kept.free_bytes)} free) is {_reached(kept.full_seconds, rate, 'full')}")
    return ", ".join(parts)


def _reached(seconds: float | None, rate: WalRate | None, word: str = "reached") -> str:
    if seconds is not None:
        return f"{word} after {duration_in_words(seconds)}"
    return f"not {word} while nothing is written" if rate is not None else f"{word} at an unknown time"


def _filled(label: str, text: str, columns: int) -> list[str]:
    indent = _INDENT if label or not text.startswith("If ") else "  "
    first = label or (indent if indent == _INDENT else "")
    lines = textwrap.wrap(text, max(columns - len(indent), 20), break_long_words=False, break_on_hyphens=False)
    return [(first if number == 0 else indent) + line for number, line in enumerate(lines)]
