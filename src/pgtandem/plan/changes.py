"""What any node may need: its files written and loaded, a start, a restart."""

from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Known
from pgtandem.model.names import NodeName
from pgtandem.model.observed import PostmasterState
from pgtandem.model.plan import Condition, NodeFiles, Risk, Step, StepKind
from pgtandem.plan.adopting import adopting, outside_files, why_written
from pgtandem.plan.certificates import takes_certificate
from pgtandem.plan.desired import files_differ, neighbour_at_port, settings_in_place
from pgtandem.plan.draft import Draft
from pgtandem.plan.drift import DISABLED, Drift
from pgtandem.plan.minor_versions import installed_number, runs_older
from pgtandem.plan.packaged import service_of
from pgtandem.plan.unarchived import archive_rest
from pgtandem.postgres.conf import RECOVERY_FILE, SETTINGS_FILE, parse_settings
from pgtandem.postgres.settings import canonical, setting_spec
from pgtandem.postgres.spelling import RESPELLED
from pgtandem.postgres.versions import has_standby_signal

_DIFFER = "They differ from what the topology file says."


def change(draft: Draft, name: NodeName, files: NodeFiles, drift: Drift) -> None:
    """Files that differ are written and loaded; settings that ALTER SYSTEM holds are taken back."""
    seen, major = draft.wish.seen(name), draft.wish.topology.postgresql
    running = seen.running is not None
    fresh = adopting(seen)
    if drift.shadowed and running:
        draft.add(
            Step(
                f"{name}.reset",
                StepKind.RESET_SETTINGS,
                name,
                f"ALTER SYSTEM RESET {', '.join(drift.shadowed)}",
                "postgresql.auto.conf is read last and hides what the topology file says.",
                Risk.RELOAD,
                needs=(f"{name}.adopt",),
                undo="ALTER SYSTEM SET with the old value",
                names=drift.shadowed,
            )
        )
    wanted = parse_settings(files.text(SETTINGS_FILE))
    differing = list(files_differ(files, seen))
    data = seen.directory
    if files.standby and data is not None and not data.standby_signal:
        signal = "standby.signal" if has_standby_signal(major) else RECOVERY_FILE
        differing += [signal] if signal not in differing else []
    restart = drift.restart_for(major)
    load = running and bool(differing or drift.loaded or drift.shadowed)
    # Until the register of Debian leads to the data directory, and the server is started again, it reads other files.
    reads = running and seen.running is not None and not any(outside_files(draft.wish, name, seen.running))
    what, why = (
        why_written(draft, name, files, drift)
        if fresh
        else (_what_is_written(differing, drift.written, settings_in_place(seen), files), _DIFFER)
    )
    if differing:
        draft.add(
            Step(
                f"{name}.files",
                StepKind.WRITE_FILES,
                name,
                what + (" and reload" if load else ""),
                why,
                Risk.RELOAD,
                # A server that is told to push its WAL to another host must find the way there open.
                needs=(
                    *("host.account", "archive.folder", f"{name}.reset", f"{name}.keys", f"{name}.certificate"),
                    *(f"{name}.adopt", f"{draft.wish.primary}.superuser"),
                ),
                expects=(Condition("data_is_ours", name, name),),
                proves=(
                    *loaded(draft, name, wanted, (*drift.written, *drift.loaded)),
                    *takes_certificate(draft.wish, name, drift.written),
                )
                if reads
                else (),
                undo="change the topology file back and apply",
                files=files,
            )
        )
    elif load and not (restart and not drift.shadowed):
        draft.add(
            Step(
                f"{name}.files",
                StepKind.RELOAD,
                name,
                f"reload {name}",
                f"It has not read {', '.join(drift.loaded or drift.shadowed)} yet.",
                Risk.RELOAD,
                needs=(f"{name}.reset",),
                proves=loaded(draft, name, wanted, (*drift.loaded, *drift.shadowed)),
            )
        )


def loaded(draft: Draft, name: NodeName, wanted: dict[str, str], keys: tuple[str, ...]) -> tuple[Condition, ...]:
    """That a running server has taken these settings over: a reload takes effect a moment later."""
    major, conditions = draft.wish.topology.postgresql, []
    server = draft.wish.seen(name).running
    for key in keys:
        spec = setting_spec(major, key)
        shown = server.settings.get(key) if server else None
        if shown is not None and shown.value == DISABLED:
            continue
        if key in wanted and spec is not None and not spec.needs_restart and key not in RESPELLED:
            conditions.append(Condition("setting_is", name, f"{key}={canonical(spec, wanted[key])}"))
    return tuple(conditions)


def start(draft: Draft, name: NodeName, role: str, after: tuple[str, ...]) -> None:
    seen = draft.wish.seen(name)
    alive = isinstance(seen.postmaster, Known) and not draft.builds(name)
    ends = alive and isinstance(seen.postmaster, Known) and seen.postmaster.value.state is PostmasterState.STOPPING
    neighbour = neighbour_at_port(draft.wish, name)
    if neighbour is not None and not draft.has(f"{neighbour}.stop"):
        _make_way(draft, neighbour, name)
    if not draft.builds(name):
        draft.look_again = True
    rest = archive_rest(draft, name) if role == "is_standby" and not alive else ""
    draft.add(
        Step(
            f"{name}.start",
            StepKind.START,
            name,
            f"wait until {name} answers"
            if alive and not ends
            else f"start {name} on port {draft.wish.node(name).port}",
            "Its server shuts down; it is started once that is done."
            if ends
            else ("Its server is starting up." if alive else "Its server does not run."),
            Risk.CREATE,
            needs=(
                *("host.programs", f"{name}.stop", f"{name}.registration", f"{name}.certificate", *after),
                f"{draft.wish.primary}.timelines",
                *((f"{neighbour}.stop",) if neighbour else ()),
                *((rest,) if rest else ()),
            ),
            expects=() if alive else (Condition("stopped", name), Condition("port_free", name)),
            proves=(Condition(role, name),),
            undo=f"pg_ctl stop -D {draft.wish.node(name).data_directory}",
            service=service_of(seen),
        )
    )


def restart(draft: Draft, name: NodeName, drift: Drift, after: tuple[str, ...]) -> None:
    restart = drift.restart_for(draft.wish.topology.postgresql)
    older = runs_older(draft.wish.seen(name))
    if not restart and not older:
        return
    settings = f"{', '.join(restart)} take{'s' if len(restart) == 1 else ''} effect at a start only" if restart else ""
    why = "; ".join(filter(None, (settings, older)))
    _refuse_broken_hba(draft, name)
    role = "is_primary" if name == draft.wish.primary else "is_standby"
    neighbour = neighbour_at_port(draft.wish, name)
    if neighbour is not None and not draft.has(f"{neighbour}.stop"):
        _make_way(draft, neighbour, name)
    draft.add(
        Step(
            f"{name}.restart",
            StepKind.RESTART,
            name,
            f"restart {name}",
            f"{why[0].upper()}{why[1:]}." if not restart else f"{why}.",
            Risk.RESTART,
            needs=(
                *(f"{name}.files", f"{name}.reset", f"{name}.stop", f"{name}.registration", f"{name}.certificate"),
                *((f"{neighbour}.stop",) if neighbour else ()),
                *((f"{draft.wish.primary}.timelines",) if name != draft.wish.primary else ()),
                *after,
            ),
            proves=(
                *(Condition(role, name), Condition("nothing_pending", name)),
                *((Condition("runs_version", name, str(installed_number(draft.wish.seen(name)))),) if older else ()),
            ),
            undo="change the topology file back and apply",
            service=service_of(draft.wish.seen(name)),
        )
    )


def _refuse_broken_hba(draft: Draft, name: NodeName) -> None:
    """A server goes on with a pg_hba.conf that it cannot read, and does not start with it. Where pgtandem writes that
    file first, it looks at the result then."""
    server = draft.wish.seen(name).running
    broken = [rule for rule in (server.hba if server else ()) if rule.broken]
    if broken and not draft.has(f"{name}.files"):
        raise PgtandemError(
            "PT-3025",
            f"{name} needs a restart and would not start again",
            why="; ".join(f"Line {rule.line} of its pg_hba.conf: {rule.error}" for rule in broken[:3]) + ".",
            next_step="correct that file, then run the same command again",
        )


def _make_way(draft: Draft, name: NodeName, successor: NodeName) -> None:
    """A node whose port another one gets stops first; its own restart then starts it on its new port."""
    draft.add(
        Step(
            f"{name}.stop",
            StepKind.STOP,
            name,
            f"stop {name}",
            f"{successor} gets its port.",
            Risk.STOP,
            needs=(f"{name}.files", f"{name}.reset"),
            proves=(Condition("stopped", name),),
            undo="pgtandem up",
            service=service_of(draft.wish.seen(name)),
        )
    )


def _what_is_written(differing: list[str], settings: tuple[str, ...], before: dict[str, str], files: NodeFiles) -> str:
    """In words: what is set, and which other files are written."""
    parts, wanted = [], parse_settings(files.text(SETTINGS_FILE))
    if before:
        changed = [name for name in settings if name in wanted]
        parts += ["set " + ", ".join(changed)] if changed else []
        gone = [name for name in settings if name not in wanted]
        parts += ["take out " + ", ".join(gone)] if gone else []
    others = [path for path in differing if not (path == SETTINGS_FILE and parts)]
    if others:
        parts.append("write " + ", ".join(others))
    return "; ".join(parts)
