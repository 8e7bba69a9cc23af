"""Checking a server that was restored for trial, writing the result down, and removing it."""

import posixpath
import re

from pgtandem.apply.context import Context
from pgtandem.apply.restored_places import remove_places
from pgtandem.apply.servers import ends_with_its_trial, stop
from pgtandem.errors import PgtandemError
from pgtandem.model.backup import Drill
from pgtandem.model.names import SUPERUSER
from pgtandem.model.observed import Marker
from pgtandem.model.plan import Step
from pgtandem.model.restore import RESTORED, RestoreOrder
from pgtandem.observe.directory import observe_marker
from pgtandem.plan.recovery import RESTORE_FILE, is_drills
from pgtandem.ports import SUPERUSER_SECRET, Completed
from pgtandem.postgres.base_backups import DRILL_FILE, render_drill
from pgtandem.postgres.conninfo import render_conninfo, render_passfile
from pgtandem.postgres.queries import blames_the_query

_LONG_SECONDS = 24 * 3600.0
_LAST = "SELECT coalesce(extract(epoch FROM now() - pg_last_xact_replay_timestamp())::bigint::text, '')"
_DATABASES = "SELECT datname FROM pg_database WHERE datallowconn"
#: What psql adds to an error with VERBOSITY=verbose; the word before the first depends on the server's language.
_SQLSTATE = re.compile(r"(?<=:  )([0-9A-Z]{5}): ")
_LOCATION = re.compile(r"\n\S+:  \w+, \w+\.c:\d+\s*$")
_NOT_READ = "its server answers; its tables were not read, which takes pg_amcheck, or checksums and a program for them"
_HAS_AMCHECK = "SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'"


async def check_restored(context: Context, step: Step) -> str:
    """Asks it, looks at every page, and notes the result. Raises PgtandemError PT-4056 with what is wrong."""
    async with ends_with_its_trial(context, step):
        return await _check_restored(context, step)


async def _check_restored(context: Context, step: Step) -> str:
    order, (query, database) = step.restore, step.names
    assert order is not None
    assert order.drill is not None
    seconds = context.world.clock.now() - order.drill
    clients = _Clients(context, step, order)
    await clients.open()
    try:
        age = (await clients.ask("postgres", _LAST)).strip()
        said = await clients.ask_as_told(database, query) if query else None
        checked = await _amcheck(clients)
    finally:
        await clients.close()
    checked += await _checksums(context, step, order)
    lost = float(age) if age.lstrip("-").isdigit() else None
    unwritten = await _try_to_note(context, order, Drill(context.world.clock.now(), "", round(seconds, 1), lost))
    last = (
        f"the last transaction is {max(lost, 0):.0f} s old"
        if lost is not None
        else "no transaction came after the backup"
    )
    words = [f"restored in {seconds:.1f} s", last]
    words += checked or [_NOT_READ]
    if isinstance(said, PgtandemError):
        noted = "and that is noted" if unwritten is None else f"but that could not be noted ({unwritten.why})"
        said.why += f"\nNothing is wrong with the backup, {noted}: {'; '.join(words)}."
        raise said
    if said is not None:
        words.append(f"the query says {' '.join(said.split()) or 'nothing'}")
    if unwritten is not None:
        raise PgtandemError(
            "PT-4058",
            f"backup {order.backup.label} can be restored, and that could not be written down",
            why=f"{'; '.join(words)}.\n{unwritten.what[:1].upper()}{unwritten.what[1:]}: {unwritten.why}",
            next_step="make the archive writable for that account, then pgtandem drill: until one is noted, status and "
            "doctor do not know of any",
        )
    return "; ".join(words)


async def note_drill(context: Context, step: Step) -> str:
    """That it failed, and why."""
    order = step.restore
    assert order is not None
    await _note(context, order, Drill(context.world.clock.now(), step.names[0]))
    return ""


async def remove_restored(context: Context, step: Step) -> str:
    """Stops it and removes its folder, where that is one of a restore. Raises PgtandemError PT-4002 where it is not."""
    order = step.restore
    assert order is not None
    host = context.host(step.node)
    for path in step.names:
        await host.remove_tree(path)
    if await host.list_directory(order.directory):
        note = await host.read_file(posixpath.join(order.directory, RESTORE_FILE)) or b""
        marker = await observe_marker(host, order.directory)
        if marker != Marker(context.topology.cluster, RESTORED) or not is_drills(note.decode(errors="replace")):
            raise PgtandemError(
                "PT-4002",
                f"{order.directory} holds no restored server",
                next_step="look at what is there, and remove it",
            )
        await stop(context, step)
        await host.remove_tree(order.directory)
    await remove_places(host, order)
    await host.remove_file(order.directory + ".log")
    if order.note is not None:
        await host.remove_file(order.note)
    return ""


async def _note(context: Context, order: RestoreOrder, drill: Drill) -> None:
    keeper = context.world.host(order.backup.host)
    await keeper.write_file(posixpath.join(order.backup.folder, DRILL_FILE), render_drill(drill).encode())


async def _try_to_note(context: Context, order: RestoreOrder, drill: Drill) -> PgtandemError | None:
    """Why it could not be: an archive that is read-only, say. What was found out is true all the same."""
    try:
        await _note(context, order, drill)
    except PgtandemError as failure:
        return failure
    return None


def _wrong(order: RestoreOrder, why: str) -> PgtandemError:
    return PgtandemError(
        "PT-4056",
        f"what came back of backup {order.backup.label} is not right",
        why=why,
        next_step="pgtandem backup --full, then pgtandem drill",
    )


def _of_the_query(label: str, why: str) -> PgtandemError:
    return PgtandemError(
        "PT-4057",
        f"the query cannot be asked of what came back of backup {label}",
        why=f"{why[:1].upper()}{why[1:].rstrip('.')}.",
        next_step="try it on the cluster with pgtandem psql; what works there may be about something that is younger "
        "than the archived WAL",
    )


class _Clients:
    """PostgreSQL's own client programs, with the superuser's password in a file that is there only meanwhile."""

    def __init__(self, context: Context, step: Step, order: RestoreOrder) -> None:
        self._context, self._step, self._order = context, step, order
        self._host = context.host(step.node)
        self._passfile = order.directory + ".passfile"

    async def open(self) -> None:
        secret = self._context.world.workspace.secret(SUPERUSER_SECRET)
        entries = [(self._order.address, self._order.port, SUPERUSER, secret)] if secret else []
        await self._host.write_file(self._passfile, render_passfile(entries).encode())

    async def close(self) -> None:
        await self._host.remove_file(self._passfile)

    async def ask(self, database: str, query: str) -> str:
        """Raises PgtandemError PT-4056 with what the server said."""
        done = await self._asked(database, query)
        if done.exit_code:
            raise _wrong(self._order, f"{query}: {done.complaint}")
        return done.text

    async def ask_as_told(self, database: str, query: str) -> str | PgtandemError:
        """The same for a query of the user's. Where that is wrong itself, or asks for what came after the last archived
        WAL, nothing is said against the backup: then it is a PgtandemError PT-4057."""
        label = self._order.backup.label
        if database not in (await self.ask("postgres", _DATABASES)).split("\n"):
            return _of_the_query(label, f'there is no database "{database}"')
        done = await self._asked(database, query)
        if not done.exit_code:
            return done.text
        said = _LOCATION.sub("", done.complaint).strip()
        state, why = _SQLSTATE.search(said), _SQLSTATE.sub("", said)
        if state and blames_the_query(state[1]):
            return _of_the_query(label, why)
        failure = _wrong(self._order, f"{query}: {why}")
        failure.what = f"the query failed on what came back of backup {label}"
        failure.next_step = (
            "try it on the cluster with pgtandem psql; where it works there: pgtandem backup --full, then "
            "pgtandem drill"
        )
        raise failure

    async def _asked(self, database: str, query: str) -> Completed:
        settings = ("-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose")
        return await self.run(["psql", "-X", "-A", "-t", "-q", *settings, "-d", self.conninfo(database), "-c", query])

    def conninfo(self, database: str) -> str:
        order = self._order
        return render_conninfo(
            {
                "host": order.address,
                "port": order.port,
                "user": SUPERUSER,
                "dbname": database,
                "passfile": self._passfile,
            }
        )

    async def run(self, argv: list[str], **environment: str) -> Completed:
        program = self._context.program(self._step, argv[0])
        return await self._host.run([program, *argv[1:]], deadline_seconds=_LONG_SECONDS, environment=environment)

    async def has(self, program: str) -> bool:
        return await self._host.can_execute(self._context.program(self._step, program))

    def wrong(self, why: str) -> PgtandemError:
        return _wrong(self._order, why)


async def _amcheck(clients: _Clients) -> list[str]:
    """Every table and index, where contrib is installed (pg_amcheck came with 14)."""
    if not await clients.has("pg_amcheck") or (await clients.ask("postgres", _HAS_AMCHECK)).strip() != "1":
        return []
    done = await clients.run(
        ["pg_amcheck", "--all", "--install-missing", "--no-password", "--maintenance-db", clients.conninfo("postgres")],
        PGOPTIONS="-c default_transaction_read_only=off",
    )
    if done.exit_code:
        raise clients.wrong(f"pg_amcheck: {done.complaint or done.text.strip()[-300:]}")
    return ["pg_amcheck finds nothing wrong"]


async def _checksums(context: Context, step: Step, order: RestoreOrder) -> list[str]:
    """Every page, where the cluster has checksums. The server must be down for that."""
    host = context.host(step.node)
    name = "pg_checksums" if context.topology.postgresql >= 12 else "pg_verify_checksums"
    seen = await context.observer.node(step.node)
    if seen.control is None or not seen.control.checksums or not await host.can_execute(context.program(step, name)):
        return []
    await stop(context, step)
    options = ["--check"] if context.topology.postgresql >= 12 else []
    argv = [context.program(step, name), *options, "-D", order.directory]
    done = await host.run(argv, deadline_seconds=_LONG_SECONDS)
    if done.exit_code:
        raise _wrong(order, f"{name}: {done.complaint}")
    return ["the checksum of every page is right"]
