"""Who starts the archive's receiver again after a reboot of its host: a systemd unit, where pgtandem may make one."""

import posixpath
import shlex
from collections.abc import Iterator

from pgtandem.model.facts import Known, Unknown
from pgtandem.model.names import NodeName
from pgtandem.model.observed import Observed
from pgtandem.model.plan import Risk, Step, StepKind
from pgtandem.model.stream import Keeper, ObservedStream
from pgtandem.model.topology import Topology
from pgtandem.model.words import TO_COPY
from pgtandem.plan.draft import Draft
from pgtandem.postgres.stream_scripts import RECEIVER, RUN
from pgtandem.topology.places import host_name

UNIT_STEP = "stream.unit"


def keep_receiver(draft: Draft, seen: ObservedStream) -> None:
    """Its unit is made, or made what it should be; and it watches over a receiver that was started before it."""
    keeper = _ours(seen)
    if keeper is None or (keeper.as_wished and keeper.enabled and (keeper.active or not seen.running)):
        return
    watches = keeper.as_wished and keeper.enabled
    draft.add(
        Step(
            UNIT_STEP,
            StepKind.KEEP_RECEIVER,
            draft.wish.primary,
            f"{'have' if watches else 'make'} the systemd unit {keeper.unit}"
            f"{' watch over the receiver' if watches else ''}{_on(draft.wish.topology)}",
            "The receiver of the archive's stream is then started with its host, and again when it ends.",
            Risk.CREATE,
            needs=("archive.folder", f"{draft.wish.primary}.data", f"{draft.wish.primary}.files"),
            undo=f"systemctl disable --now {keeper.unit}",
            service=keeper.unit,
        )
    )


def unit_of(draft: Draft, seen: ObservedStream) -> str:
    """The unit through which the receiver is started, "" where it is started by itself."""
    keeper = _ours(seen)
    if keeper is None or not ((keeper.as_wished and keeper.enabled) or draft.has(UNIT_STEP)):
        return ""
    return keeper.unit


def forget_unit(seen: ObservedStream, name: NodeName, why: str, needs: tuple[str, ...]) -> Step | None:
    """None where there is none of ours, or nobody may remove it: without a receiver it does nothing."""
    keeper = _ours(seen)
    if keeper is None or not keeper.there:
        return None
    return Step(
        "stream.unit.remove",
        StepKind.FORGET_RECEIVER,
        name,
        f"remove the systemd unit {keeper.unit}",
        why,
        Risk.STOP,
        needs=needs,
        service=keeper.unit,
    )


def keeper_remarks(topology: Topology, observed: Observed) -> Iterator[str]:
    """Where the receiver would not come back with its host."""
    found = not_kept(topology, observed)
    if found is not None:
        why, remedy = found
        yield f"the receiver of the archive's stream does not start by itself when its host does: {why}. {remedy}"


def not_kept(topology: Topology, observed: Observed) -> tuple[str, str] | None:
    """Why the receiver would not come back with its host, and what helps; None where it does, or `apply` sees to it."""
    stream = observed.stream
    if not topology.streams_to_archive or not isinstance(stream, Known) or not stream.value.there:
        return None
    fact = stream.value.keeper
    if isinstance(fact, Unknown):
        return f"its systemd unit could not be looked for: {fact.reason}", _by_cron(topology, stream.value)
    if not isinstance(fact, Known) or fact.value.keeps:
        return None
    keeper = fact.value
    if keeper.theirs:
        return f"{keeper.unit} is another archive's", _by_cron(topology, stream.value)
    if not keeper.systemd:
        return "systemd does not run that host", _by_cron(topology, stream.value)
    if not keeper.allowed:
        why = "a systemd unit takes a login as root, or sudo that asks for no password"
        return why, _by_cron(topology, stream.value)
    return None


def _by_cron(topology: Topology, seen: ObservedStream) -> str:
    """The account's own crontab: once a minute, since a receiver that runs lets no second one run."""
    run = shlex.quote(posixpath.join(seen.folder, RECEIVER, RUN)).replace("%", "\\%")
    line = f"* * * * * sh {run}"
    return f"Cron can do it{_on(topology)}:{TO_COPY}(crontab -l; echo {shlex.quote(line)}) | crontab -"


def _ours(seen: ObservedStream) -> Keeper | None:
    """What systemd has for it, where pgtandem may change that."""
    if not isinstance(seen.keeper, Known):
        return None
    keeper = seen.keeper.value
    return keeper if keeper.systemd and keeper.allowed and not keeper.theirs else None


def _on(topology: Topology) -> str:
    host = topology.archive.host if topology.archive else None
    return f" on {host_name(host)}" if host is not None and not host.is_local else ""
