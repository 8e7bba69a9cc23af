"""How WAL that is stored as it is comes over SSH: as it is over a fast way, and compressed over a slow one where
processors have time for that."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from integration.test_wal_over_ssh import MEGABYTE, fetched, segment
from pgtandem.postgres.wal_fetch import SPOOL
from pgtandem.postgres.wal_serve import SERVE_TEXT
from support.hosts import Hosts, why_no_hosts
from support.wal_link import WalLink

_reason = why_no_hosts()
pytestmark = [pytest.mark.skipif(_reason is not None, reason=_reason or "")]

#: By the host's own clocks each file that comes takes so many seconds, and its processors have so long nothing to do.
_CLOCKS = """#!/bin/sh
read -r seconds _ </proc/uptime
read -r _ _ _ _ idle _ </proc/stat
echo "$((${seconds%.*} + @SECONDS@)).00 0.00" >/srv/uptime
echo "cpu  0 0 0 $((idle + @IDLE@)) 0" >/srv/stat
exec /srv/dd "$@"
"""


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(2) as made:
        yield made


@pytest.fixture
def link(hosts: Hosts) -> Iterator[WalLink]:
    """Node h2, which fetches from h1; what h1 is asked for is noted."""
    made = WalLink(hosts, "h2", ["h1"])
    noting = 'echo "${SSH_ORIGINAL_COMMAND-}" >>/srv/postgres/asked\n'
    made.write("h1", "/srv/postgres/.ssh/pgtandem/shop/serve-wal", noting + SERVE_TEXT)
    yield made
    for pid in hosts.processes("h2", "fetch-wal"):
        hosts.run("h2", ["kill", "-9", str(pid)])
    made.hang_up()
    shutil.rmtree(made.data)
    shutil.rmtree(made.archived("h1"))
    (hosts.srv("h1") / "postgres/asked").unlink()


@contextmanager
def way(hosts: Hosts, *, seconds: int, idle: int) -> Iterator[None]:
    """`idle` are hundredths of a second."""
    srv = hosts.srv("h2")
    shutil.copy("/usr/bin/dd", srv / "dd")
    script = _CLOCKS.replace("@SECONDS@", str(seconds)).replace("@IDLE@", str(idle))
    with ExitStack() as stack:
        for name, text in (("uptime", "1008.08 0.00\n"), ("stat", "cpu  0 0 0 100 0\n")):
            (srv / name).write_text(text)
            (srv / name).chmod(0o666)
            hosts.run("h2", ["mount", "--bind", f"/srv/{name}", f"/proc/{name}"])
            stack.callback(hosts.run, "h2", ["umount", f"/proc/{name}"])
        stack.enter_context(hosts.another_program("h2", "dd", script))
        yield


def asked(link: WalLink) -> list[str]:
    return (link.hosts.srv("h1") / "postgres/asked").read_text().splitlines()


def comes_whole(link: WalLink) -> None:
    contents = {segment(number): os.urandom(MEGABYTE) for number in range(6)}
    for name, content in contents.items():
        link.store("h1", name, content)
    assert {name: fetched(link, name) for name in contents} == contents


def test_over_a_fast_way_wal_comes_as_it_is(hosts: Hosts, link: WalLink) -> None:
    with way(hosts, seconds=0, idle=2000):
        comes_whole(link)
    assert asked(link) == [f"get {segment(0)} 9999"]


def test_over_a_slow_way_wal_goes_compressed_from_the_next_segment_on(hosts: Hosts, link: WalLink) -> None:
    with way(hosts, seconds=10, idle=2000):
        comes_whole(link)
        assert asked(link) == [f"get {segment(0)} 9999", f"get {segment(1)} 9999 lz4,zstd"]
        link.store("h1", segment(100), b"x" * MEGABYTE)
        assert fetched(link, segment(100)) == b"x" * MEGABYTE
        assert asked(link)[2:] == [f"get {segment(100)} 9999 lz4,zstd"], "it is remembered"
    assert not list((link.data / SPOOL).glob("next.*"))


def test_a_machine_that_is_busy_does_not_compress_too(hosts: Hosts, link: WalLink) -> None:
    with way(hosts, seconds=10, idle=0):
        comes_whole(link)
    assert asked(link) == [f"get {segment(0)} 9999"]


def test_a_way_that_is_cut_at_the_change_to_compression_loses_nothing(hosts: Hosts, link: WalLink) -> None:
    """The first file came, and nobody answers when the next ones are asked for: that file counts."""
    for number in range(3):
        link.store("h1", segment(number), b"x" * MEGABYTE)
    refusing = "case ${SSH_ORIGINAL_COMMAND-} in *lz4*) [ ! -e /srv/postgres/cut ] || exit 1 ;; esac\n" + SERVE_TEXT
    link.write("h1", "/srv/postgres/.ssh/pgtandem/shop/serve-wal", refusing)
    link.write("h1", "/srv/postgres/cut", "")
    link.write("h1", "/srv/postgres/asked", "")
    with way(hosts, seconds=10, idle=2000):
        assert fetched(link, segment(0)) == b"x" * MEGABYTE
        assert link.fetch(segment(1)).returncode == 1
        (hosts.srv("h1") / "postgres/cut").unlink()
        (link.data / SPOOL / "resting.h1").unlink()  # that it is left alone for a while is shown elsewhere
        assert fetched(link, segment(1)) == b"x" * MEGABYTE
        assert fetched(link, segment(2)) == b"x" * MEGABYTE
