"""The settings of a server that somebody set, as people read them."""

from pgtandem.model.observed import Server
from pgtandem.model.value import dataclass
from pgtandem.postgres.conf import SETTINGS_FILE
from pgtandem.postgres.settings import readable

#: Not what only pgtandem's own session has, and not what the server computes of itself.
_SET = ("configuration file", "command line", "environment variable", "database", "user", "database user", "unknown")


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """`where` says who set it; `pending` that the value takes effect at a restart only."""

    name: str
    value: str
    where: str
    pending: bool


def changed_settings(server: Server) -> tuple[ShownSetting, ...]:
    """Those that do not come from the default, in the order of their names; those that wait for a restart first."""
    found = []
    for name, setting in server.settings.items():
        if setting.source not in _SET and not setting.pending_restart:
            continue
        file = setting.source_file or setting.source
        where = "pgtandem" if file.endswith(f"/{SETTINGS_FILE}") else file.rpartition("/")[2]
        value = "not known" if setting.source == "unknown" else readable(server.major, name, setting.value)
        found.append(ShownSetting(name, value, where, setting.pending_restart))
    return tuple(sorted(found, key=lambda each: (not each.pending, each.name)))
