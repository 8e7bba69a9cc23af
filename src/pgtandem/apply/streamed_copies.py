"""A copy from any node to any host: pg_basebackup, run on the copy's host, as the standby itself will connect."""

from collections.abc import Callable

from pgtandem.apply.certificates import root_certificates
from pgtandem.apply.context import Context
from pgtandem.apply.copies import PROGRESS, failed, said_by, wal_option
from pgtandem.apply.file_copies import CopyFailed, has_gnu_tools, list_files
from pgtandem.model.names import REPLICATION_ROLE
from pgtandem.model.plan import Step
from pgtandem.ports import HostFailure
from pgtandem.postgres.base_backup import MANIFEST, file_sizes, parse_manifest
from pgtandem.postgres.certificates import VERIFY
from pgtandem.postgres.conf import RECOVERY_FILE, SETTINGS_FILE, parse_settings
from pgtandem.postgres.conninfo import parse_conninfo, render_conninfo, render_passfile

_COPY_SECONDS = 7 * 24 * 3600.0


async def copy_by_stream(context: Context, step: Step, staging: str) -> str:
    """Makes the copy in `staging`; returns what was copied and what of it was checked. Raises PgtandemError PT-4006."""
    assert step.upstream is not None
    host, upstream = context.host(step.node), context.node(step.upstream)
    passfile = staging + ".passfile"
    lines = render_passfile([(upstream.address, upstream.port, REPLICATION_ROLE, context.replication_secret())])
    conninfo: dict[str, str | int] = {
        "host": upstream.address,
        "port": upstream.port,
        "user": REPLICATION_ROLE,
        "passfile": passfile,
        "application_name": f"pgtandem clone {step.node}",
        "connect_timeout": 10,
    }
    await host.write_file(passfile, lines.encode())
    root = staging + ".ca.crt"
    if verifies(step):
        conninfo |= {"sslmode": VERIFY, "sslrootcert": root}
        await host.write_file(root, root_certificates(context).encode())
    try:
        done = await host.run(
            [
                context.program(step, "pg_basebackup"),
                *("-d", render_conninfo(conninfo), "-D", staging, "-X", "stream", "--checkpoint=fast"),
                *("--label", f"pgtandem {step.node}", "--progress", "--no-clean", "--no-sync", "--no-password"),
                *wal_option(context, step),
                *rate_option(context),
            ],
            deadline_seconds=_COPY_SECONDS,
            on_output=progress_reader(lambda done, total: context.report.step_progress(step, done, total)),
        )
    finally:
        await host.remove_file(passfile)
        await host.remove_file(root)
    what = f"could not copy {step.upstream} to {step.node}"
    if done.exit_code:
        raise failed("PT-4006", what, said_by(done))
    try:
        return await _check(context, step, staging)
    except (CopyFailed, ValueError) as error:
        raise failed("PT-4006", what, f"{error}") from None


async def _check(context: Context, step: Step, staging: str) -> str:
    """Holds the copy against the manifest that the server has sent with it (13 and later): which files, which sizes.
    Raises CopyFailed and ValueError."""
    host = context.host(step.node)
    manifest = await host.read_file(f"{staging}/{MANIFEST}")
    if manifest is None:
        return "by pg_basebackup"
    try:
        if not await has_gnu_tools(host):
            return "by pg_basebackup"
    except HostFailure:
        return "by pg_basebackup"
    wanted = parse_manifest(manifest.decode("utf-8", "surrogateescape"))
    found = file_sizes(await list_files(host, staging, into_links=True))
    for path, size in wanted.items():
        if found.get(path) != size:
            here = "is not there" if path not in found else f"has {found[path]} bytes and not {size}"
            raise CopyFailed(f"{path} {here}, although the server's manifest names it.")
    # What came over TLS was held against a checksum record by record, of a better kind.
    summed = not verifies(step) and await _content_fits(context, step, staging)
    each = "its size and its checksum" if summed else "its size"
    return f"{len(wanted)} files by pg_basebackup; each has {each} by the server's manifest"


async def _content_fits(context: Context, step: Step, staging: str) -> bool:
    """Whether pg_verifybackup found the copy whole; False where that program is not there, or crashes, as one that an
    installation of 18 brings does. The WAL is not its business: replay reads it. Raises CopyFailed."""
    program = context.program(step, "pg_verifybackup")
    argv = [program, "--no-parse-wal", "--quiet", "--exit-on-error", staging]
    try:
        done = await context.host(step.node).run(argv, deadline_seconds=_COPY_SECONDS)
    except HostFailure:
        return False
    if done.exit_code == 1:
        raise CopyFailed(f"pg_verifybackup says: {said_by(done)}")
    return done.exit_code == 0


def rate_option(context: Context) -> list[str]:
    """In kilobytes of 1024 (pg_basebackup's page), within its bounds."""
    limit = context.topology.replication.copy_bytes_per_second
    return [] if limit is None else [f"--max-rate={min(max(limit // 1024, 32), 1024 * 1024)}k"]


def verifies(step: Step) -> bool:
    """Whether the standby is to check its upstream's certificate: the copy is made as it will stream."""
    texts = dict(step.files.texts) if step.files else {}
    settings = parse_settings(texts.get(RECOVERY_FILE, texts.get(SETTINGS_FILE, "")))
    return parse_conninfo(settings.get("primary_conninfo", "")).get("sslmode") == VERIFY


def progress_reader(tell: Callable[[int, int], None]) -> Callable[[bytes], None]:
    """Reads what pg_basebackup tells, in bytes."""

    def read(chunk: bytes) -> None:
        found = PROGRESS.findall(chunk)
        if found:
            tell(int(found[-1][0]) * 1024, int(found[-1][1]) * 1024)

    return read
