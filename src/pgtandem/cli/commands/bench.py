"""pgtandem bench durability: what each level of durability costs on this very cluster."""

import argparse
import json
import sys
import textwrap

from pgtandem.apply.durability_bench import SCALE_BYTES, DurabilityBench, Measured, Wishes
from pgtandem.apply.holding import GivesWay, Way, hold
from pgtandem.cli.output_file import refuse_foreign, write_whole
from pgtandem.cli.show_bench import bench_json, bench_lines
from pgtandem.cli.terminal import Paint, ask, can_ask, can_draw, can_rewrite, text_width, width
from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.errors import PgtandemError
from pgtandem.model.facts import Absent
from pgtandem.model.topology import Topology
from pgtandem.model.words import size_in_words
from pgtandem.observe.cluster import Observer
from pgtandem.ports import World
from pgtandem.postgres.pgbench import SCRATCH

_ELSEWHERE = "pgtandem bench durability -o ANOTHER.svg"


def run(options: argparse.Namespace) -> int:
    """0 when it was measured, 2 when the question was answered with no."""
    if options.what != "durability":
        raise PgtandemError("PT-1006", f'there is no benchmark "{options.what}"', next_step="pgtandem bench durability")
    path = topology_path(options)
    topology = read_topology(path)
    wishes = Wishes(options.seconds, options.clients, options.scale)
    if options.output:
        from pgtandem.web.bench_drawing import MARK

        refuse_foreign(options.output, MARK, _ELSEWHERE)

    async def work(world: World) -> tuple[DurabilityBench, tuple[Measured, ...]] | None:
        return await _measured(topology, world, wishes, options)

    try:
        found = in_world(path, topology, work, options)
    except KeyboardInterrupt:
        raise PgtandemError("PT-4009", "the scratch database was removed, and nothing else was changed") from None
    if found is None:
        print("Nothing was changed.")
        return 2
    _show(topology, wishes, *found, options)
    return 0


async def _measured(
    topology: Topology, world: World, wishes: Wishes, options: argparse.Namespace
) -> tuple[DurabilityBench, tuple[Measured, ...]] | None:
    observed = await Observer(topology, world).cluster()
    if all(isinstance(node.data, Absent) for node in observed.nodes.values()):
        raise PgtandemError("PT-2007", f"cluster {topology.cluster} is not built yet", next_step="pgtandem up")
    bench = DurabilityBench(topology, world, observed)
    await bench.check()
    if not options.yes and not _agreed(topology, bench, wishes):
        return None

    async def work(_: Way) -> tuple[Measured, ...]:
        try:
            return await bench.run(wishes, _tell)
        finally:
            _tell("")

    # Nobody restarts a server or changes roles meanwhile, at least not with pgtandem; a role change ends it.
    return bench, await hold(world, "bench", work, gives=GivesWay.ALWAYS)


def _agreed(topology: Topology, bench: DurabilityBench, wishes: Wishes) -> bool:
    count = sum(level.same_as is None and not level.never for level in bench.levels)
    size = size_in_words(wishes.scale * SCALE_BYTES)
    text = (
        f"This makes the database {SCRATCH} on {bench.primary} (about {size}), runs pgbench in it for about "
        f"{count * wishes.seconds + 10} s with {wishes.clients} clients, and removes it. What it writes is replicated"
        f"{' and archived' if topology.archive else ''} as all WAL is, and slows down who else works on the cluster. "
        "No setting of the cluster changes."
    )
    print("\n".join(textwrap.wrap(text, text_width(sys.stdout) or 100)), flush=True)
    if not can_ask():
        raise PgtandemError(
            "PT-1007",
            "bench would write to the cluster, and there is no terminal to ask on",
            next_step="pgtandem bench durability --yes",
        )
    try:
        return ask("Go ahead?")
    except KeyboardInterrupt:
        raise PgtandemError("PT-4009", "nothing was changed") from None


def _tell(text: str) -> None:
    """What is under way: on a terminal in one line that changes, in lines otherwise."""
    if can_rewrite(sys.stderr):
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(f"...    {text}", file=sys.stderr, flush=True)


def _show(
    topology: Topology,
    wishes: Wishes,
    bench: DurabilityBench,
    measured: tuple[Measured, ...],
    options: argparse.Namespace,
) -> None:
    out = sys.stdout
    how = f"pgbench -N, {wishes.clients} clients, {wishes.seconds} s each in two parts, scale {wishes.scale}"
    title = f"cluster {topology.cluster}, primary {bench.primary}"
    if options.json:
        print(json.dumps(bench_json(topology.cluster, bench.primary, wishes, measured, bench.configured), indent=2))
    else:
        paint = Paint(out)
        print(paint.bold(title) + f": {how}")
        print("\n".join(bench_lines(measured, bench.configured, paint, min(width(out), 120), drawn=can_draw(out))))
    if options.output:
        from pgtandem.web.bench_drawing import bench_drawing

        write_whole(
            options.output,
            bench_drawing(f"What durability costs: {title}", how, measured, bench.configured),
            _ELSEWHERE,
        )
        if not options.json:
            print(f"wrote {options.output}")
