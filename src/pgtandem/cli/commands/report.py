"""pgtandem report: one HTML page about the cluster, after looking at it for a while."""

import argparse
import sys

from pgtandem.cli.output_file import refuse_foreign, write_whole
from pgtandem.cli.terminal import can_rewrite
from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.doctor.diagnose import diagnose
from pgtandem.doctor.look import Look
from pgtandem.model.topology import Topology
from pgtandem.model.words import duration_in_words
from pgtandem.observe.cluster import Observer
from pgtandem.observe.events import Chronicle
from pgtandem.observe.examination import examine_cluster
from pgtandem.observe.samples import Sample, sample_of
from pgtandem.observe.watching import Watcher
from pgtandem.ports import World

_APART_SECONDS = 1.0
_ELSEWHERE = "pgtandem report -o ANOTHER.html"
#: More looks than this would make lines that nobody can tell from others, and a page that nobody can send.
_MOST_LOOKS = 600


def run(options: argparse.Namespace) -> int:
    """0 when it is written, whatever it says."""
    path = topology_path(options)
    topology = read_topology(path)
    output = options.output
    if output != "-":
        from pgtandem.web.report import GENERATOR

        refuse_foreign(output, f'content="{GENERATOR}"', _ELSEWHERE)

    async def work(world: World) -> str:
        return await _made(topology, world, float(options.for_seconds))

    text = in_world(path, topology, work, options)
    if output == "-":
        print(text, end="")
    else:
        write_whole(output, text, _ELSEWHERE)
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
