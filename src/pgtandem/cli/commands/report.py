"""pgtandem report: one HTML page about the cluster, after looking at it for a while."""

import argparse
import os
import sys
import tempfile
from contextlib import suppress

from pgtandem.cli.terminal import can_rewrite
from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.doctor.diagnose import diagnose
from pgtandem.doctor.look import Look
from pgtandem.errors import PgtandemError
from pgtandem.model.topology import Topology
from pgtandem.observe.cluster import Observer
from pgtandem.observe.events import Chronicle
from pgtandem.observe.examination import examine_cluster
from pgtandem.observe.samples import Sample, sample_of
from pgtandem.observe.watching import Watcher
from pgtandem.observe.words import duration_in_words
from pgtandem.ports import World

_APART_SECONDS = 1.0
#: More looks than this would make lines that nobody can tell from others, and a page that nobody can send.
_MOST_LOOKS = 600


def run(options: argparse.Namespace) -> int:
    """0 when it is written, whatever it says."""
    path = topology_path(options)
    topology = read_topology(path)
    output = options.output
    if output != "-":
        _refuse_foreign(output)

    async def work(world: World) -> str:
        return await _made(topology, world, float(options.for_seconds))

    text = in_world(path, topology, work, options)
    if output == "-":
        print(text, end="")
    else:
        _write(output, text)
        print(f"wrote {output}")
    return 0


async def _made(topology: Topology, world: World, seconds: float) -> str:
    from pgtandem.web.report import Material, report

    clock, chronicle, samples = world.clock, Chronicle(topology), list[Sample]()
    apart = max(_APART_SECONDS, seconds / _MOST_LOOKS)
    watcher = Watcher(topology, world, fresh_seconds=apart / 2)
    began = clock.monotonic()
    try:
        while True:
            observed = await watcher.look()
            chronicle.add(observed)
            samples.append(sample_of(topology, observed))
            left = began + seconds - clock.monotonic()
            if left <= 0:
                break
            _tell(f"looking at cluster {topology.cluster}, {duration_in_words(left)} left")
            await clock.sleep(min(apart, left))
    finally:
        await watcher.close()
    _tell("asking doctor")
    observed = await Observer(topology, world, try_paths=True).cluster()
    look = Look(topology, observed, await examine_cluster(topology, world, observed))
    _tell("")
    return report(Material(look, diagnose(look), tuple(samples), tuple(chronicle.events)))


def _tell(text: str) -> None:
    """On a terminal, a line that changes; the page itself may go to the standard output."""
    if can_rewrite(sys.stderr):
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _refuse_foreign(output: str) -> None:
    """Only what is not there, and earlier reports, are written over. Raises PgtandemError PT-1009."""
    from pgtandem.web.report import GENERATOR

    try:
        with open(output, "rb") as file:
            start = file.read(2000)
    except FileNotFoundError:
        folder = os.path.dirname(os.path.abspath(output))
        if os.path.isdir(folder) and os.access(folder, os.W_OK):
            return
        why = "There is no such folder." if not os.path.isdir(folder) else "Permission denied."
        raise _unwritable(output, why) from None
    except OSError as error:
        raise _unwritable(output, f"{error.strerror}.") from None
    if start and f'content="{GENERATOR}"'.encode() not in start:
        raise _unwritable(output, "There is a file already that is no report, and it is not written over.")


def _write(output: str, text: str) -> None:
    """Whole or not at all. Raises PgtandemError PT-1009."""
    folder = os.path.dirname(os.path.abspath(output))
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=".report-", dir=folder)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, output)
    except OSError as error:
        with suppress(OSError):
            os.unlink(temporary)
        raise _unwritable(output, f"{error.strerror}.") from None


def _umask() -> int:
    now = os.umask(0o077)
    os.umask(now)
    return now


def _unwritable(output: str, why: str) -> PgtandemError:
    return PgtandemError("PT-1009", f"could not write {output}", why=why, next_step="pgtandem report -o ANOTHER.html")
