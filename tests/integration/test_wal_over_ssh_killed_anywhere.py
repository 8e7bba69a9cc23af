"""kill -9 of everything that pushes, or fetches, over SSH, at each program that it starts, on either end: nothing half
has a name, nothing that was answered for is missing, and everything comes in the end."""

import os
import shutil
from collections.abc import Iterator

import pytest

from integration.test_wal_over_ssh import archived_content, segment
from support.hosts import Hosts, why_no_hosts
from support.servers import wait_until
from support.stumbling import HostStumbling
from support.wal_link import WalLink

_reason = why_no_hosts()
pytestmark = [pytest.mark.chaos, pytest.mark.skipif(_reason is not None, reason=_reason or "")]

MEGABYTE = 1 << 20
_COUNT = 4

#: Whatever the scripts start, but for what they wait with.
_NODE = ("cat", "cksum", "dd", "grep", "head", "ln", "lz4", "mkdir", "mv", "nproc", "rm", "ssh", "sync", "tr", "wc")
_NODE += ("zstd",)
_ARCHIVE = ("cat", "cksum", "cmp", "dd", "grep", "head", "ln", "lz4", "mkdir", "mv", "rm", "sync", "tail", "zstd")


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(2) as made:
        yield made


def end(link: WalLink) -> None:
    for host, words in (("h2", "fetch-wal"), ("h2", "push-wal"), ("h1", "serve-wal")):
        for pid in link.hosts.processes(host, words):
            link.hosts.run(host, ["kill", "-9", str(pid)])
    link.hang_up()
    shutil.rmtree(link.data)
    shutil.rmtree(link.archived("h1"), ignore_errors=True)


def pushed(hosts: Hosts, stumbling: HostStumbling, number: int, form: tuple[str, ...]) -> bool:
    """A backlog is pushed, killed at the n-th program and then not any more; whether there was one."""
    link = WalLink(hosts, "h2", ["h1"], put=True)
    try:
        contents = {segment(each): os.urandom(MEGABYTE // 2) + bytes(MEGABYTE // 2) for each in range(_COUNT)}
        for name, content in contents.items():
            link.finish(name, content)
        suffix = ".zst" if form else ""

        def stored() -> dict[str, bytes]:
            paths = link.archived("h1").glob("0*")
            return {path.name.removesuffix(suffix): archived_content(link, path.name) for path in paths}

        stumbling.at(number)
        told = set()
        while link.ready() and link.archive_one(*form):
            told = set(contents) - set(link.ready())
        stumbling.stop()
        there = stored()
        assert there == {name: contents[name] for name in there}, f"{number}: whole where it has its name"
        assert told <= set(there), f"{number}: what the server was told is there"
        wait_until(lambda: not link.ready() or (link.archive_one(*form) and False), "all of it is archived", 60)
        assert stored() == contents, number
        wait_until(lambda: not link.pushing(), "the worker ends", 30)
        sums = [line.split() for path in link.archived("h1").glob("checksums/*") for line in path.open()]
        named = {line[2] for line in sums if len(line) == 3}
        assert named >= {name + suffix for name in contents}, f"{number}: each has its checksum"
        return stumbling.fell(number)
    finally:
        stumbling.stop()
        end(link)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("form", [(), ("zstd", "1")], ids=["none", "zstd"])
def test_the_archives_side_of_pushing_is_killed_at_each_program(
    hosts: Hosts, form: tuple[str, ...], after: bool
) -> None:
    stumbling, number = HostStumbling(hosts, "h1"), 1
    with stumbling.instead_of(_ARCHIVE, after=after):
        while pushed(hosts, stumbling, number, form):
            number += 1
    assert number > 10, "taking a backlog takes at least so many programs"


@pytest.mark.parametrize("form", [(), ("zstd", "1")], ids=["none", "zstd"])
def test_the_nodes_side_of_pushing_is_killed_at_each_program(hosts: Hosts, form: tuple[str, ...]) -> None:
    stumbling, number = HostStumbling(hosts, "h2"), 1
    with stumbling.instead_of(_NODE, after=False):
        while pushed(hosts, stumbling, number, form):
            number += 1
    assert number > 10, "so many programs at least"


def fetched(hosts: Hosts, stumbling: HostStumbling, number: int, form: tuple[str, ...], *, slow: bool) -> bool:
    """What is archived is fetched in order by a standby, killed at the n-th program; whether there was one."""
    link = WalLink(hosts, "h2", ["h1"], put=True)
    try:
        contents = {segment(each): os.urandom(MEGABYTE // 2) + bytes(MEGABYTE // 2) for each in range(_COUNT)}
        for name, content in contents.items():
            link.finish(name, content)
        wait_until(lambda: not link.ready() or (link.archive_one(*form) and False), "all of it is archived", 60)
        wait_until(lambda: not link.pushing(), "the worker ends", 30)
        if slow:
            link.has_slow_way("h1")
        stumbling.at(number)
        path = link.data / "pg_wal/RECOVERYXLOG"
        for name, content in contents.items():

            def comes(name: str = name) -> bool:
                code = link.fetch(name).returncode
                # By a signal the server's startup process would end too, and be started again; never above 125 else.
                assert code in (0, 1, 137), (number, name, code)
                if code:
                    path.unlink(missing_ok=True)
                return code == 0

            wait_until(comes, f"{number}: {name} comes", 60)
            assert path.read_bytes() == content, (number, name)
            path.unlink()
        stumbling.stop()
        return stumbling.fell(number)
    finally:
        stumbling.stop()
        end(link)


@pytest.mark.parametrize(
    ("form", "slow"), [((), False), ((), True), (("zstd", "1"), False)], ids=["none", "compressed on the way", "zstd"]
)
@pytest.mark.parametrize(("side", "programs"), [("h2", _NODE), ("h1", _ARCHIVE)], ids=["node", "archive"])
def test_fetching_is_killed_at_each_program(
    hosts: Hosts, side: str, programs: tuple[str, ...], form: tuple[str, ...], slow: bool
) -> None:
    stumbling, number = HostStumbling(hosts, side), 1
    with stumbling.instead_of(programs, after=False):
        while fetched(hosts, stumbling, number, form, slow=slow):
            number += 1
    assert number > (4 if side == "h1" else 10), "so many programs at least"
