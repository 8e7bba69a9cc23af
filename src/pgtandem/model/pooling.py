"""PgBouncer between clients and servers: what the user wants of one, and what was found out about it."""

from collections.abc import Mapping

from pgtandem.model.facts import Fact, Unknown
from pgtandem.model.value import dataclass, field

_NOT_LOOKED = Unknown("it was not looked at")


@dataclass(frozen=True, slots=True)
class PooledDatabase:
    """One row of SHOW DATABASES: the server that it leads to (`host` as PgBouncer has it, several with commas) and
    whether it is paused: then clients wait."""

    name: str
    host: str
    port: int
    dbname: str
    paused: bool = False


@dataclass(frozen=True, slots=True)
class PgbouncerConsole:
    """What a PgBouncer says over its admin console. `pool_mode` is its own; a database may have another one."""

    version: str
    pool_mode: str
    databases: Mapping[str, PooledDatabase] = field(default_factory=dict)

    def paused(self, names: Mapping[str, str]) -> tuple[str, ...]:
        """Those of the named databases that are paused."""
        return tuple(name for name in names if name in self.databases and self.databases[name].paused)


@dataclass(frozen=True, slots=True)
class ObservedPgbouncer:
    """`file` is the text of the file that pgtandem writes and that the user's pgbouncer.ini includes."""

    file: Fact[str] = _NOT_LOOKED
    console: Fact[PgbouncerConsole] = _NOT_LOOKED
