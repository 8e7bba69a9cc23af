"""How a running or stopped server differs from what is wished, and what it takes to mend that."""

from pgtandem.model.facts import Unknown
from pgtandem.model.names import NodeName
from pgtandem.model.observed import ObservedNode
from pgtandem.model.server import Server
from pgtandem.model.value import dataclass
from pgtandem.plan.desired import Wish, desired_settings, recovery_file, settings_in_place
from pgtandem.postgres.conf import RECOVERY_FILE, SETTINGS_FILE
from pgtandem.postgres.settings import canonical, setting_spec
from pgtandem.postgres.spelling import is_respelled, same_text
from pgtandem.postgres.versions import has_standby_signal

_AUTO_FILE = "postgresql.auto.conf"


@dataclass(frozen=True, slots=True)
class Drift:
    """What differs on one node, as setting names: `written` in the settings file against the wish, `loaded` in the
    running server against the wish, `shadowed` by ALTER SYSTEM, `pending` until a restart. `recovery` says that
    recovery.conf (up to 11) differs, or is written and not read yet: it is only read at a start. `settled` are those of
    them that have the wished value in force, wherever it comes from or however it is spelled: no restart for them."""

    written: tuple[str, ...] = ()
    loaded: tuple[str, ...] = ()
    shadowed: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    recovery: bool = False
    settled: tuple[str, ...] = ()

    def restart_for(self, major: int) -> tuple[str, ...]:
        """The settings that need a restart."""
        changed = {*self.written, *self.loaded, *self.shadowed}
        recovery = (RECOVERY_FILE,) if self.recovery else ()
        needed = {*self.pending, *(name for name in changed if _needs_restart(major, name))}
        return tuple(sorted({*recovery, *(needed - {*self.settled})}))


def drift_of(wish: Wish, name: NodeName, *, keep_sync: bool = False) -> Drift:
    node, major = wish.seen(name), wish.topology.postgresql
    wanted, in_place = desired_settings(wish, name, keep_sync=keep_sync), settings_in_place(node)
    written = tuple(sorted(key for key in {*wanted, *in_place} if wanted.get(key) != in_place.get(key)))
    shadowed = _shadowed(node, wanted)
    server = node.running
    recovery = _recovery_differs(wish, name)
    if server is None:
        return Drift(written=written, shadowed=shadowed, recovery=recovery)
    loaded = tuple(
        key
        for key, value in sorted(wanted.items())
        if key not in written and key not in shadowed and not _in_force(server, major, key, value)
    )
    # What our file does not set any more, and the server still has from it.
    stale = (key for key, setting in server.settings.items() if _ours(setting.source_file))
    loaded += tuple(sorted(key for key in stale if key not in wanted and key not in written))
    pending = tuple(
        sorted(
            key
            for key, setting in server.settings.items()
            if setting.pending_restart and (key in wanted or key in in_place or _ours(setting.source_file))
        )
    )
    settled = tuple(
        key for key in (*written, *shadowed) if key in wanted and _runs_with(server, major, key, wanted[key])
    )
    return Drift(written, loaded, shadowed, pending, recovery, settled)


def _recovery_differs(wish: Wish, name: NodeName) -> bool:
    data = wish.seen(name).directory
    if data is None or wish.upstream(name) is None or has_standby_signal(wish.topology.postgresql):
        return False
    server = wish.seen(name).running
    unread = server is not None and server.recovery_unread
    return unread or data.files.get(RECOVERY_FILE) != recovery_file(wish, name)


def _shadowed(node: ObservedNode, wanted: dict[str, str]) -> tuple[str, ...]:
    """Settings that ALTER SYSTEM holds: postgresql.auto.conf is read last and wins over every other file."""
    data = node.directory
    return tuple(sorted(key for key in wanted if data and key in data.auto_settings))


def _in_force(server: Server, major: int, key: str, value: str) -> bool:
    setting = server.settings.get(key)
    if setting is None:
        return True  # an extension's setting shows up once its library is loaded
    if setting.pending_restart:
        return True  # counted as pending
    if setting.value == DISABLED:
        return True
    spec = setting_spec(major, key)
    if spec is None or spec.kind == "string":
        return same_text(key, setting.value, value) or (_ours(setting.source_file) and is_respelled(key, value))
    return setting.value == canonical(spec, value)


def _runs_with(server: Server, major: int, key: str, value: str) -> bool:
    """Whether the server has exactly this value now. A reload takes a pending restart back where that is so."""
    setting, spec = server.settings.get(key), setting_spec(major, key)
    if setting is None or spec is None:
        return False
    return setting.value == (value if spec.kind == "string" else canonical(spec, value))


#: What archive_command shows while archive_mode is off, whatever was written.
DISABLED = "(disabled)"


def _ours(source_file: str | None) -> bool:
    return source_file is not None and source_file.endswith(SETTINGS_FILE)


def _needs_restart(major: int, name: str) -> bool:
    spec = setting_spec(major, name)
    return spec is not None and spec.needs_restart


def unanswered(node: ObservedNode) -> bool:
    """Whether a server process lives whose server could not be asked (yet)."""
    return isinstance(node.server, Unknown)
