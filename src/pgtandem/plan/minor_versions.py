"""A server that runs an older minor version than the programs that are installed: a restart brings it up to date."""

import re

from pgtandem.model.facts import Known
from pgtandem.model.names import NodeName
from pgtandem.model.observed import ObservedNode
from pgtandem.plan.desired import Wish
from pgtandem.plan.drift import drift_of


def installed_number(node: ObservedNode) -> int | None:
    """The version of the programs that the next start uses, as server_version_num; None where that is not known, and
    for a version that is not released."""
    if not isinstance(node.programs, Known):
        return None
    programs = node.programs.value
    version = (programs.to_copy or programs).version
    match = re.fullmatch(r"(\d+)\.(\d+)", version)
    return int(match.group(1)) * 10000 + int(match.group(2)) if match else None


def runs_older(node: ObservedNode) -> str:
    """ "it runs 18.3, and 18.4 is installed", or "": never of a server that is newer, which nobody takes back."""
    server, installed = node.running, installed_number(node)
    if server is None or installed is None or server.version_number >= installed or installed // 10000 != server.major:
        return ""
    return f"it runs {in_words(server.version_number)}, and {in_words(installed)} is installed"


def restarts_for_that_alone(wish: Wish, name: NodeName) -> bool:
    """Whether the older version is the only reason for a restart: then a switchover will do, which restarts it too."""
    return bool(runs_older(wish.seen(name))) and not drift_of(wish, name).restart_for(wish.topology.postgresql)


def in_words(number: int) -> str:
    return f"{number // 10000}.{number % 10000}"
