"""pgtandem doctor: the traps that a cluster has, each with its reason and what to do."""

import argparse
import difflib
import json
import sys
import textwrap

from pgtandem.cli.invocation import spelled
from pgtandem.cli.json_doctor import doctor_json, rules_json
from pgtandem.cli.show_findings import explained, finding_lines
from pgtandem.cli.terminal import Paint, width
from pgtandem.cli.workbench import in_world, read_topology, topology_path
from pgtandem.doctor.diagnose import RULES, diagnose, wrong
from pgtandem.doctor.look import Look
from pgtandem.doctor.rules import Rule
from pgtandem.errors import PgtandemError
from pgtandem.observe.cluster import Observer
from pgtandem.observe.examination import examine_cluster
from pgtandem.ports import World


def run(options: argparse.Namespace) -> int:
    """0 without findings, 2 with any. `explain` needs no cluster."""
    if options.explain is not None:
        return _explain(options)
    if options.json and options.format in ("sarif", "junit"):
        what = f"--json and --format {options.format} cannot be given together"
        raise PgtandemError("PT-1006", what, next_step="pgtandem doctor --help")
    path = topology_path(options)
    look = _look(options, path)
    findings = diagnose(look)
    if options.json or options.format == "json":
        print(json.dumps(doctor_json(look, findings), indent=2))
    elif options.format in ("sarif", "junit"):
        from pgtandem.cli.doctor_formats import junit, sarif

        print((sarif if options.format == "sarif" else junit)(look, findings))
    else:
        out = sys.stdout
        columns = min(width(out), 100)
        print("\n".join(finding_lines(look, findings, Paint(out), columns, lambda text: spelled(text, path))))
        if options.dsn and wrong(findings):
            print(textwrap.fill(_TAKE_OVER, columns))
    return 2 if wrong(findings) else 0


#: What a fix that names pgtandem needs, on servers that it does not keep.
_TAKE_OVER = (
    "Fixes that name pgtandem need it to keep this cluster: pgtandem adopt writes its topology file, and pgtandem plan "
    "shows what that would change."
)


def _look(options: argparse.Namespace, path: str) -> Look:
    if options.dsn:
        from pgtandem.cli.doctor_by_sql import look_at_dsns

        if options.file:
            what = "--dsn and -f cannot be given together"
            raise PgtandemError("PT-1006", what, next_step="--dsn needs no topology file")
        return look_at_dsns(options.dsn)
    topology = read_topology(path)

    async def work(world: World) -> Look:
        observed = await Observer(topology, world, try_paths=True).cluster()
        return Look(topology, observed, await examine_cluster(topology, world, observed))

    return in_world(path, topology, work, options)


def _explain(options: argparse.Namespace) -> int:
    if options.explain != "explain":
        raise PgtandemError(
            "PT-1006",
            f'doctor does not know what to do with "{options.explain}"',
            next_step="pgtandem doctor   or   pgtandem doctor explain ID",
        )
    if options.dsn or options.format in ("sarif", "junit"):
        option = "--dsn" if options.dsn else f"--format {options.format}"
        what = f"doctor explain tells of the rules and looks at no cluster, so it has no use for {option}"
        raise PgtandemError("PT-1006", what, next_step="pgtandem doctor --help")
    rules = list(RULES.values()) if options.rule is None else [_rule(options.rule)]
    if options.json or options.format == "json":
        print(json.dumps(rules_json(rules), indent=2))
    else:
        print("\n".join(explained(rules, Paint(sys.stdout), min(width(sys.stdout), 100))))
    return 0


def _rule(word: str) -> Rule:
    found = RULES.get(word.upper())
    if found is None:
        close = difflib.get_close_matches(word.upper(), RULES, 1)
        raise PgtandemError(
            "PT-1006",
            f'there is no rule "{word}"',
            next_step=f"pgtandem doctor explain {close[0]}" if close else "pgtandem doctor explain   (lists them)",
        )
    return found
