"""PgBouncers: do they lead clients to the primary, and let them go on?"""

from collections.abc import Iterator

from pgtandem.doctor.look import Look
from pgtandem.doctor.rules import Seen, Severity, rule
from pgtandem.model.facts import Unknown
from pgtandem.model.pooling import ObservedPgbouncer
from pgtandem.plan.pgbouncer_health import PgbouncerHealth, PooledHealth, pgbouncer_health


def _pools(look: Look) -> tuple[PgbouncerHealth, ...]:
    primary = look.primary()
    return pgbouncer_health(look.topology, look.observed, primary[0] if primary else None)


def _leads(pool: PgbouncerHealth, database: PooledHealth) -> str:
    where = " and ".join(database.nodes) or database.target
    return f"PgBouncer {pool.name} leads {database.name} to {where}"


@rule(
    "POL01",
    Severity.CRITICAL,
    "a PgBouncer lets its clients wait",
    why="A paused database answers nobody: clients hang until their own timeouts end them, while the servers are well. "
    "A role change pauses for a moment; a longer pause was left behind by something that ended half way.",
    fix="pgtandem apply",
    by_sql=False,
)
def paused(look: Look) -> Iterator[Seen]:
    for pool in _pools(look):
        waiting = [database.name for database in pool.databases if database.paused]
        if waiting:
            yield Seen(None, f"PgBouncer {pool.name} has {' and '.join(waiting)} paused")


@rule(
    "POL02",
    Severity.CRITICAL,
    "a PgBouncer leads clients to the wrong server",
    why="What should be written goes to a standby, which refuses it, or to an old primary, where it is lost. A "
    "database for reading that leads astray loads the primary, or shows nothing.",
    fix="pgtandem apply",
    by_sql=False,
)
def astray(look: Look) -> Iterator[Seen]:
    primary = look.primary()
    for wished, pool in zip(look.topology.pgbouncers, _pools(look), strict=True):
        for database in pool.databases:
            if database.right:
                continue
            if not database.target:
                yield Seen(None, f"PgBouncer {pool.name} has no database {database.name}", severity=Severity.HIGH)
            elif database.name not in wished.databases:
                yield Seen(None, f"{_leads(pool, database)}, and is for reading", severity=Severity.MEDIUM)
            elif primary:
                yield Seen(None, f"{_leads(pool, database)}, and {primary[0]} is the primary")


@rule(
    "POL03",
    Severity.HIGH,
    "a PgBouncer cannot be asked",
    why="Where it leads its clients is not known, and a role change cannot let them wait for the new primary. They "
    "would see errors, or go on writing to the old one.",
    fix="start it, or see admin_user and admin_password_file under [pgbouncers.NAME] in pgtandem.toml",
    by_sql=False,
)
def silent(look: Look) -> Iterator[Seen]:
    for pool in _pools(look):
        console = look.observed.pgbouncers.get(pool.name, ObservedPgbouncer()).console
        if isinstance(console, Unknown):
            yield Seen(None, f"PgBouncer {pool.name} at {pool.address}:{pool.port}: {console.reason}")
