"""PgBouncer, asked and told over its admin console."""

from typing import Protocol

from pgtandem.model.names import PgbouncerName, Secret
from pgtandem.model.pooling import PgbouncerConsole
from pgtandem.model.value import dataclass


@dataclass(frozen=True, slots=True)
class ConsoleAccess:
    """How to reach the admin console of a PgBouncer."""

    name: PgbouncerName
    address: str
    port: int
    user: str
    password: Secret | None = None


class Console(Protocol):
    """A connection to the admin console. Every method may raise DatabaseUnreachable and DatabaseRefused."""

    async def show(self) -> PgbouncerConsole:
        """Version, pool mode and databases."""
        ...

    async def pause(self, database: str) -> None:
        """From now on its clients wait; returns when none of its transactions runs any more (in session pooling: when
        every client is gone). Whoever does not want to wait cancels the call: that gives the connection up, and the
        database stays paused. Paused already is fine."""
        ...

    async def resume(self, database: str) -> None:
        """Clients go on, on new connections to the servers. Not paused is fine."""
        ...

    async def reload(self) -> None:
        """Makes it read its configuration files again; what is paused stays so."""
        ...

    async def connect_at_once(self) -> None:
        """Until the next `reload` it connects again at once to where a server did not answer, instead of after its
        server_login_retry (15 s by default, which also counts where the database leads elsewhere by now)."""
        ...

    async def close(self) -> None: ...
