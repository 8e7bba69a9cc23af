"""Taking over a cluster that pgtandem did not build, where the topology file gives leave to ([adopt]).

In this order, so that the cluster works at every moment: the primary gets its marker and pgtandem's files, the
superuser a password that is stored as SCRAM, then pgtandem's role and slots; the standbys follow one after the other
and stream as that role; restarts come last, the primary's after the standbys'. What is not needed any more goes in a
later round, once it is seen that nobody uses it. What users have written stays, and a copy of each file is kept.
"""

import posixpath
from collections.abc import Iterator

from pgtandem.errors import Problem
from pgtandem.model.facts import Absent
from pgtandem.model.names import SUPERUSER, NodeName
from pgtandem.model.observed import ObservedNode
from pgtandem.model.plan import WARNING, Condition, NodeFiles, Risk, Step, StepKind
from pgtandem.model.server import Server
from pgtandem.plan.desired import MARKER_FILE, Wish, files_differ
from pgtandem.plan.draft import Draft
from pgtandem.plan.drift import Drift
from pgtandem.postgres.conf import RECOVERY_FILE, SETTINGS_FILE, parse_settings
from pgtandem.postgres.debian import registration_directory
from pgtandem.postgres.managers import managed_by

Finding = tuple[str, Problem]

#: Where the files stay as they were before, in the data directory.
BEFORE = "pgtandem/before-adoption"

CONFIG_FILES = ("config_file", "hba_file", "ident_file")

#: What stands behind pgtandem's own value of a setting, where another one was in force.
_WHY = {
    "archive_command": "an archive command must make the copy durable, never overwrite another segment, and never "
    "call success what is not there",
    "archive_mode": "without it a promoted standby would archive nothing, and it needs a restart",
    "cluster_name": "logs and processes then say whose they are",
    "hot_standby": "a standby that answers nobody cannot be asked how far it is",
    "max_replication_slots": "there must be room for the slots of all other nodes after a change of roles",
    "max_slot_wal_keep_size": "a slot of a standby that is away may otherwise fill the disk until the primary stops",
    "max_wal_senders": "a base backup takes two for itself, and raising it needs a restart",
    "password_encryption": "who sees an MD5 hash can log in with it",
    "primary_conninfo": "it streams as pgtandem's role, with the password in a file of mode 0600",
    "primary_slot_name": "its upstream then keeps the WAL that it still needs",
    "restore_command": "it asks for several segments ahead, and never says success for one that is not there",
    "synchronous_standby_names": "the names are those of the nodes from now on",
    "wal_level": "its present name is replica",
    "wal_log_hints": "without it, or checksums, pg_rewind cannot bring an old primary back",
    "wal_retrieve_retry_interval": "a standby then reconnects after half a second, not after five",
    RECOVERY_FILE: "it streams as pgtandem's role through a slot, follows the latest timeline, and asks the archive "
    "for several segments ahead",
}

#: The same where [archive] has the commands of another tool.
_FOREIGN = {
    "archive_command": "[archive] says so, for every node",
    "restore_command": "[archive] says so: a standby then catches up from that archive, too",
    RECOVERY_FILE: "it streams as pgtandem's role through a slot, follows the latest timeline, and asks the archive by "
    "the command in [archive]",
}


def adopting(node: ObservedNode) -> bool:
    """Whether a node's data directory is still to be taken over."""
    return node.directory is not None and node.directory.adoptable


def adoption_findings(wish: Wish, name: NodeName, node: ObservedNode) -> Iterator[Finding]:
    """What keeps a data directory from being taken over."""
    if not adopting(node) or node.directory is None:
        return
    server, where = node.running, wish.node(name).data_directory
    if server is None:
        if isinstance(node.postmaster, Absent):
            yield (
                "PT-3031",
                Problem(
                    name,
                    f"{name} does not run, and is to be taken over",
                    f"Where its configuration is, and who else takes care of {where}, a running server tells.",
                    f"start it as it was started until now, then run the same command again; or take [nodes.{name}] "
                    "out of the topology file",
                ),
            )
        return
    manager = managed_by({key: setting.value for key, setting in server.settings.items()}, node.directory.entries)
    if manager:
        yield (
            "PT-3032",
            Problem(
                name,
                f"{name} is in the care of {manager}",
                "Two that change roles and settings undo each other's work, and may make two primaries.",
                f"let {manager} keep it; or remove {manager} first, so that the servers run without it",
            ),
        )
    outside = [path for path in outside_files(wish, name, server) if path]
    debians = registration_directory(where, wish.topology.postgresql)
    if outside and any(posixpath.dirname(path) != debians for path in outside):
        yield (
            "PT-3033",
            Problem(
                name,
                f"the configuration of {name} lies in {posixpath.dirname(outside[0])}",
                "pgtandem keeps it in the data directory, where a base backup has it too. Who starts this server names "
                "that other place, and would go on with it.",
                f"move the files to {where}, start the server with -D {where} alone, then run the same command again",
            ),
        )
    if name != wish.primary or len(wish.topology.nodes) == 1:
        return
    slots = server.settings.get("max_replication_slots")
    wanted = len(wish.slots_of(name)) + len(server.slots)
    level = server.settings.get("wal_level")
    if (slots is not None and int(slots.value) < wanted) or (level is not None and level.value == "minimal"):
        yield (
            "PT-3033",
            Problem(
                name,
                f"{name} has no room for {len(wish.slots_of(name))} more replication slots",
                "Standbys are told to stream through slots before the primary is restarted.",
                f"on {name}: ALTER SYSTEM SET max_replication_slots = {max(20, wanted)} (and wal_level = replica), and "
                "restart it",
            ),
        )


def outside_files(wish: Wish, name: NodeName, server: Server) -> tuple[str, str, str]:
    """Where postgresql.conf, pg_hba.conf and pg_ident.conf lie, "" for one that is in the data directory."""
    where = wish.node(name).data_directory
    paths = [server.settings[key].value if key in server.settings else "" for key in CONFIG_FILES]
    config, hba, ident = ("" if posixpath.dirname(path) == where else path for path in paths)
    return config, hba, ident


def take_over(draft: Draft, name: NodeName) -> None:
    """The marker, after a copy of every file that is changed; configuration is brought into the data directory."""
    wish, seen = draft.wish, draft.wish.seen(name)
    if not adopting(seen) or seen.running is None:
        return
    primary, upstream = wish.primary, wish.upstream(name)
    outside = outside_files(wish, name, seen.running)
    where = wish.node(name).data_directory
    what = f"take over {where} as node {name} of cluster {wish.topology.cluster}"
    why = f"pgtandem only changes what carries its marker. Each file that it changes is kept in {BEFORE}."
    if outside[0]:
        what += f", with a copy of the configuration in {posixpath.dirname(outside[0])}"
        why += " Configuration outside the data directory is in no base backup: a new standby would not have it."
    draft.add(
        Step(
            f"{name}.adopt",
            StepKind.ADOPT,
            name,
            what,
            why,
            Risk.CREATE,
            needs=() if upstream is None else (f"{primary}.role", f"{primary}.superuser", f"{upstream}.slot.{name}"),
            expects=(Condition("adoptable", name), Condition("answers", name)),
            proves=(Condition("data_is_ours", name, name),),
            undo=f"remove {where}/{MARKER_FILE}",
            names=outside,
        )
    )


def superuser(draft: Draft) -> None:
    """pgtandem's sessions come over TCP: the superuser needs a password, stored as SCRAM."""
    wish, name = draft.wish, draft.wish.primary
    server = wish.seen(name).running
    if wish.topology.adoption is None or server is None:
        return
    role = server.roles.get(SUPERUSER)
    if role is None or role.password_kind == "scram-sha-256":
        return
    new = role.password_kind == "none"
    draft.add(
        Step(
            f"{name}.superuser",
            StepKind.SET_PASSWORD,
            name,
            f"give the superuser {SUPERUSER} a password of its own"
            if new
            else f"store the password of the superuser {SUPERUSER} as SCRAM",
            "It has none. pgtandem connects over TCP with it, and keeps it in .pgtandem/secrets.json (mode 0600)."
            if new
            else f"It is stored as {role.password_kind}: who sees that can log in with it. The password itself stays.",
            Risk.CREATE,
            needs=(f"{name}.adopt",),
            expects=(Condition("is_primary", name),),
            proves=(Condition("scram_password", name, SUPERUSER),),
            undo=f"ALTER ROLE {SUPERUSER} PASSWORD NULL" if new else "",
            names=(SUPERUSER,),
        )
    )


def why_written(draft: Draft, name: NodeName, files: NodeFiles, drift: Drift) -> tuple[str, str]:
    """What is written on a node that is taken over, and why: the settings that change, each with its reason."""
    seen = draft.wish.seen(name)
    wanted = parse_settings(files.text(SETTINGS_FILE))
    changed = [key for key in drift.written if key in wanted and key not in drift.settled]
    others = [path for path in files_differ(files, seen) if path in ("pg_hba.conf", "postgresql.conf", RECOVERY_FILE)]
    parts = ["write pgtandem's own files", *([f"set {', '.join(changed)}"] if changed else [])]
    parts += [f"write {', '.join(others)}"] if others else []
    reasons_for = _WHY | (_FOREIGN if draft.wish.topology.foreign_archive is not None else {})
    reasons = [
        f"{key}: {reasons_for[key]}" for key in (*changed, *others) if key in reasons_for and wanted.get(key, "-")
    ]
    why = "Your own lines stay; pgtandem's settings are read last, and its records in pg_hba.conf stand first."
    return "; ".join(parts), "\n".join([why, *(f"{reason}." for reason in reasons)])


def replaced(draft: Draft) -> None:
    """What pgtandem's own role and slots took the place of goes, once nobody uses it."""
    wish, adoption = draft.wish, draft.wish.topology.adoption
    if adoption is None:
        return
    nodes = [(name, wish.seen(name)) for name in wish.topology.names]
    running = [(name, seen.running) for name, seen in nodes if seen.running is not None]
    left = [name for name, seen in nodes if adopting(seen) or seen.running is None]
    used = {sender.user for _, server in running for sender in server.senders}
    top = wish.seen(wish.primary).running
    if left or top is None or draft.steps:
        # Who streams as whom can only be seen once the standbys were told to stream otherwise.
        pending = any(_replaceable(wish, name) for name in wish.topology.names)
        draft.look_again = draft.look_again or (pending and bool(draft.steps))
        return
    for role in sorted(set(adoption.roles) & used - {None}):
        draft.notes.append(
            f"{WARNING}somebody still streams as {role}, so that role and its records in pg_hba.conf stay as they are."
        )
    free = tuple(role for role in adoption.roles if role not in used)
    able = {role.name for role in top.roles.values() if role.login and not role.superuser}
    ending = tuple(role for role in free if role in able)
    if ending:
        draft.add(_disable(wish.primary, ending))
    if set(free) == set(adoption.roles):
        for name in wish.topology.names:
            _records(draft, name, free, ending)
    for name, server in running:
        for slot in server.slots.values():
            if slot.name in adoption.slots and slot.kind == "physical" and not slot.active:
                draft.add(_drop(name, slot.name))


def _replaceable(wish: Wish, name: NodeName) -> bool:
    adoption, seen = wish.topology.adoption, wish.seen(name)
    if adoption is None or seen.directory is None:
        return False
    roles = seen.running.roles if seen.running else {}
    slots = seen.running.slots if seen.running else {}
    return bool(
        seen.directory.replaced_records
        or any(roles[role].login for role in adoption.roles if role in roles)
        or any(slot in slots for slot in adoption.slots)
        or seen.directory.md5_records
    )


def _disable(primary: NodeName, roles: tuple[str, ...]) -> Step:
    return Step(
        f"{primary}.roles",
        StepKind.DISABLE_ROLES,
        primary,
        f"take login and replication from {', '.join(roles)}",
        "Nobody streams as it any more, and who knows its password could copy the whole cluster. It stays otherwise.",
        Risk.RELOAD,
        expects=(Condition("is_primary", primary),),
        proves=tuple(Condition("role_disabled", primary, role) for role in roles),
        undo="; ".join(f"ALTER ROLE {role} LOGIN REPLICATION" for role in roles),
        names=roles,
    )


def _records(draft: Draft, name: NodeName, roles: tuple[str, ...], ending: tuple[str, ...]) -> None:
    """Records of pg_hba.conf: those for nobody else go, and MD5 becomes SCRAM where every password is stored so."""
    seen, top = draft.wish.seen(name), draft.wish.seen(draft.wish.primary).running
    if seen.directory is None or top is None:
        return
    still = [
        role.name for role in top.roles.values() if role.replication and role.login and role.password_kind == "md5"
    ]
    to_scram = bool(seen.directory.md5_records) and not set(still) - set(ending)
    out = seen.directory.replaced_records
    if not out and not to_scram:
        return
    parts = [f"take the records for {', '.join(roles)} out of pg_hba.conf"] if out else []
    parts += ["ask for scram-sha-256 instead of md5 where somebody connects for replication"] if to_scram else []
    whys = ["Nobody streams so any more; they stay as comments."] if out else []
    whys += (
        ["Every role that may replicate has its password stored as SCRAM, and MD5 can be replayed."] if to_scram else []
    )
    draft.add(
        Step(
            f"{name}.records",
            StepKind.CHANGE_RECORDS,
            name,
            "; ".join(parts) + " and reload",
            " ".join(whys),
            Risk.RELOAD,
            needs=(f"{draft.wish.primary}.roles",),
            expects=(Condition("data_is_ours", name, name),),
            proves=(Condition("records_replaced", name, "scram" if to_scram else ""),),
            undo="write them as they were, and reload",
            names=(*(["scram"] if to_scram else []), *roles),
        )
    )


def _drop(name: NodeName, slot: str) -> Step:
    return Step(
        f"{name}.drop.{slot}",
        StepKind.DROP_SLOT,
        name,
        f"drop the replication slot {slot}",
        "The standby that used it streams through pgtandem's own slot; this one would hold WAL for ever.",
        Risk.RELOAD,
        expects=(Condition("answers", name),),
        proves=(Condition("slot_gone", name, slot),),
        names=(slot,),
    )
