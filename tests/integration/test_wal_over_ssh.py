"""WAL fetched from and pushed to other hosts, over real sshd's, called as a server calls it: ahead, and never stuck."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest

from pgtandem.postgres.wal_fetch import SPOOL
from pgtandem.postgres.wal_serve import SERVE_TEXT
from support.hosts import Hosts, why_no_hosts
from support.servers import wait_until
from support.wal_link import WalLink

_reason = why_no_hosts()
pytestmark = [pytest.mark.skipif(_reason is not None, reason=_reason or "")]

MEGABYTE = 1 << 20


def segment(number: int, timeline: int = 1) -> str:
    """With segments of one megabyte, of which 4096 share the middle part of the name."""
    return f"{timeline:08X}{number // 4096:08X}{number % 4096:08X}"


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(3) as made:
        yield made


@pytest.fixture
def link(hosts: Hosts, request: pytest.FixtureRequest) -> Iterator[WalLink]:
    """Node h3, which fetches from h1 and h2, and pushes to h1."""
    made = WalLink(hosts, "h3", ["h1", "h2"], put=True)
    yield made
    for host in ("h1", "h2"):
        hosts.unblock(host)
        hosts.heal(host)
    for pid in (*hosts.processes("h3", "fetch-wal"), *hosts.processes("h3", "push-wal")):
        hosts.run("h3", ["kill", "-9", str(pid)])
    made.hang_up()
    shutil.rmtree(made.data)
    for host in ("h1", "h2"):
        shutil.rmtree(made.archived(host), ignore_errors=True)
        (hosts.srv(host) / "postgres/.bashrc").unlink(missing_ok=True)


def fetched(link: WalLink, name: str, path: str = "pg_wal/RECOVERYXLOG") -> bytes:
    """A standby does not wait long for ssh, and asks again."""
    calls = [link.fetch(name, path)]
    wait_until(lambda: not calls[-1].returncode or calls.append(link.fetch(name, path)), f"{name} comes", 30)
    assert [call.stderr for call in calls] == [""] * len(calls)
    content = (link.data / path).read_bytes()
    (link.data / path).unlink()
    return content


def test_segments_come_in_order_and_whole_over_the_end_of_a_name_part(link: WalLink) -> None:
    contents = {segment(number): os.urandom(MEGABYTE) for number in range(4090, 4105)}
    for name, content in contents.items():
        link.store("h1", name, content)
    for name, content in contents.items():
        assert fetched(link, name) == content, name
    assert link.fetch(segment(4105)).returncode == 1
    assert link.spooled() == []


def test_what_follows_is_there_before_it_is_asked_for(link: WalLink) -> None:
    for number in range(5):
        link.store("h1", segment(number), bytes([number]) * MEGABYTE)
    fetched(link, segment(0))
    wait_until(lambda: link.spooled() == [segment(n) for n in range(1, 5)], "four segments wait", 20)
    shutil.rmtree(link.archived("h1"))
    assert fetched(link, segment(1)) == b"\1" * MEGABYTE


def test_no_more_is_fetched_ahead_than_the_spool_may_hold(link: WalLink) -> None:
    for number in range(12):
        link.store("h1", segment(number), b"x" * (16 * MEGABYTE))
    name = "000000010000000000000000"
    assert len(fetched(link, name)) == 16 * MEGABYTE
    wait_until(lambda: len(link.spooled()) == 8, "the spool is full", 60)
    for number in range(1, 12):
        fetched(link, segment(number))
        assert len(link.spooled()) <= 8
    wait_until(lambda: not link.fetching(), "nothing runs on", 60)


def test_history_files_come_and_do_not_disturb_what_is_fetched_ahead(link: WalLink) -> None:
    link.store("h2", "00000002.history", b"1\t0/5000000\tbecause\n")
    for number in range(4):
        link.store("h1", segment(number), b"x" * MEGABYTE)
    fetched(link, segment(0))
    assert fetched(link, "00000002.history", "pg_wal/RECOVERYHISTORY") == b"1\t0/5000000\tbecause\n"
    assert link.fetch("00000003.history", "pg_wal/RECOVERYHISTORY").returncode == 1
    wait_until(lambda: len(link.spooled()) == 3, "the rest waits", 20)


def test_each_host_is_asked_until_one_has_it(link: WalLink) -> None:
    link.store("h1", segment(0), b"a" * MEGABYTE)
    link.store("h2", segment(1), b"b" * MEGABYTE)
    link.store("h1", segment(2), b"c" * MEGABYTE)
    assert [fetched(link, segment(n))[:1] for n in range(3)] == [b"a", b"b", b"c"]


def test_another_timeline_drops_what_was_fetched_ahead(link: WalLink) -> None:
    for number in range(4):
        link.store("h1", segment(number), b"x" * MEGABYTE)
        link.store("h1", segment(number, timeline=2), b"y" * MEGABYTE)
    fetched(link, segment(0))
    wait_until(lambda: len(link.spooled()) == 3, "three segments wait", 20)
    assert fetched(link, segment(1, timeline=2)) == b"y" * MEGABYTE
    wait_until(lambda: not link.fetching(), "nothing runs on", 30)
    assert link.spooled() == [segment(2, timeline=2), segment(3, timeline=2)]


def test_what_an_earlier_server_fetched_is_not_used(link: WalLink) -> None:
    """After a crash of the machine, files that were never synced may be hollow."""
    for number in range(3):
        link.store("h1", segment(number), b"x" * MEGABYTE)
    fetched(link, segment(0))
    wait_until(lambda: len(link.spooled()) == 2 and not link.fetching(), "two segments wait", 20)
    (link.data / SPOOL / segment(1)).write_bytes(bytes(MEGABYTE))
    link.write("h3", "/srv/postgres/data/postmaster.pid", "4712\n/data\n1700000001\n")
    assert fetched(link, segment(1)) == b"x" * MEGABYTE


def test_a_killed_fetch_leaves_nothing_that_stands_in_the_way(link: WalLink) -> None:
    for number in range(12):
        link.store("h1", segment(number), b"x" * (16 * MEGABYTE))
    fetched(link, segment(0))
    for pid in link.hosts.processes("h3", "fetch-wal"):
        link.hosts.run("h3", ["kill", "-9", str(pid)])
    wait_until(lambda: not link.fetching(), "it is gone", 20)
    for number in range(1, 12):
        assert fetched(link, segment(number)) == b"x" * (16 * MEGABYTE)


def test_a_host_that_is_down_is_no_end_of_the_wal(link: WalLink) -> None:
    """Any recovery but a standby's would end there, and the server would become a primary."""
    link.store("h1", segment(0), b"x" * MEGABYTE)
    link.hosts.block("h3", "h2")
    (link.data / "standby.signal").rename(link.data / "recovery.signal")
    began = time.monotonic()
    done = link.fetch(segment(1), seconds=110)
    assert done.returncode == 255
    assert f"could not get {segment(1)} from h2" in done.stderr
    assert time.monotonic() - began > 5, "it was tried again"
    assert fetched(link, segment(0)) == b"x" * MEGABYTE, "who is up is enough when he has it"


def test_an_archive_that_cannot_be_looked_into_is_no_end_of_the_wal(link: WalLink) -> None:
    link.store("h1", segment(0), b"x" * MEGABYTE)
    link.archived("h1").chmod(0)
    answers = [link.ask("h1", f"get {segment(0)}").stdout, link.ask("h1", "hello").stdout]
    link.archived("h1").chmod(0o700)
    assert [answer.split()[-1] for answer in answers] == ["missing", "missing"]


def test_a_promotion_does_not_end_because_a_host_is_down(link: WalLink) -> None:
    """Its last question comes when no signal file is there any more; 255 would stop the server."""
    (link.data / "standby.signal").unlink()
    link.hosts.block("h3", "h1")
    link.hosts.block("h3", "h2")
    assert link.fetch("00000002.history").returncode == 1
    link.write("h3", "/srv/postgres/data/pg_wal/00000002.history", "1\t0/3000000\tno recovery target specified\n")
    with link.unreachable() as asked:
        assert link.fetch("00000002.history").returncode == 1
        assert asked() == "", "the server has it"


@pytest.mark.parametrize("how", ["standby.signal", "recovery.conf"])
def test_a_standby_does_not_wait_for_a_silent_host(link: WalLink, how: str) -> None:
    """It has to come back to see that it is to be promoted, or that it can stream again."""
    if how == "recovery.conf":
        (link.data / "standby.signal").unlink()
        link.write("h3", "/srv/postgres/data/recovery.conf", "standby_mode = 'on'\n")
    link.hosts.block("h3", "h1")
    link.hosts.block("h3", "h2")
    began = time.monotonic()
    assert link.fetch(segment(0)).returncode == 1
    assert time.monotonic() - began < 10, "ssh waits for five seconds for each of the two"
    link.hosts.unblock("h1")
    link.hosts.unblock("h2")
    link.store("h2", segment(0), b"x" * MEGABYTE)
    wait_until(lambda: link.fetch(segment(0)).returncode == 0, "it comes when the host is back", 60)


def test_a_standby_waits_for_a_silent_host_at_its_first_question_only(link: WalLink) -> None:
    """A promotion has several, one after the other: each would make the time without a primary longer."""
    link.hosts.block("h3", "h1")
    link.hosts.block("h3", "h2")
    for asked_for in (segment(0), "00000002.history"):  # h1 is silent, then h2
        assert link.fetch(asked_for).returncode == 1
    wait_until(lambda: not link.fetching(), "nobody is asked any more", 60)
    link.was_silent("h1", "h2")
    with link.unreachable() as asked:
        for number in range(3, 6):
            assert link.fetch(f"0000000{number}.history").returncode == 1
        assert asked() == ""


def test_a_host_that_failed_is_left_alone_for_a_while(link: WalLink) -> None:
    link.hosts.block("h3", "h1")
    link.store("h2", segment(0), b"x" * MEGABYTE)
    wait_until(lambda: link.fetch(segment(0)).returncode == 0, "the other one is asked", 60)
    wait_until(lambda: not link.fetching(), "nobody is asked any more", 60)
    link.was_silent("h1")
    with link.unreachable() as asked:
        assert link.fetch(segment(7)).returncode == 1
        assert "h2" in asked()
        assert "h1" not in asked()


def test_cut_off_in_the_middle_of_a_segment_nothing_of_it_is_used(link: WalLink) -> None:
    content = os.urandom(256 * MEGABYTE)
    link.store("h1", segment(0), content)
    # The answer stops in the middle for certain: the fetching side is stopped, and the host gone before it goes on.
    link.in_data(f"(sh pgtandem/fetch-wal {segment(0)} pg_wal/RECOVERYXLOG >/dev/null 2>&1 &)")
    spool = link.data / SPOOL
    wait_until(lambda: any(path.stat().st_size for path in spool.glob("data.*")), "it comes", 20)
    link.hosts.crash("h1")
    wait_until(lambda: not link.fetching(), "it gave up", 60)
    assert not (link.data / "pg_wal/RECOVERYXLOG").exists()
    assert link.spooled() == []
    assert not list(spool.glob("data.*"))
    link.hosts.boot("h1")
    wait_until(lambda: link.fetch(segment(0)).returncode == 0, "it comes when the host is back", 60)
    assert (link.data / "pg_wal/RECOVERYXLOG").read_bytes() == content


def test_a_changed_host_key_is_never_accepted(link: WalLink) -> None:
    link.store("h1", segment(0), b"x" * MEGABYTE)
    pinned = link.hosts.srv("h3") / link.folder.removeprefix("/srv/") / "known_hosts"
    before = pinned.read_text()
    pinned.write_text(before.replace(link.hosts.host_key("h1"), link.hosts.host_key("h2")))
    # It does not wait long for ssh, which may be slow here: then the next call tells.
    calls = [link.fetch(segment(0))]
    wait_until(lambda: calls[-1].stderr or calls.append(link.fetch(segment(0))), "it is told", 60)
    done = calls[-1]
    pinned.write_text(before)
    assert done.returncode == 1
    assert "Host key verification failed" in done.stderr
    assert f"could not get {segment(0)} from h1" in done.stderr


def test_a_shell_that_chatters_is_not_taken_for_an_answer(link: WalLink) -> None:
    link.write("h1", "/srv/postgres/.bashrc", "printf 'welcome\\nabsent\\n000000010000000000000000 3 -\\nxyz'\n")
    link.store("h1", segment(0), b"x" * MEGABYTE)
    assert fetched(link, segment(0)) == b"x" * MEGABYTE
    link.write("h3", "/srv/postgres/data/pg_wal/new", b"new")
    assert link.push("pg_wal/new", segment(1)).returncode == 0


def test_the_key_can_do_nothing_else(link: WalLink) -> None:
    assert link.ask("h1", "cat /etc/passwd").returncode == 1
    assert "refused" in link.ask("h1", "id").stderr
    assert "refused" in link.ask("h1", "-tt", "bash").stderr or link.ask("h1", "-tt", "bash").returncode != 0
    link.hang_up()
    forwarded = link.ask("h1", "-S", "none", "-W", "127.0.0.1:22")
    assert forwarded.returncode != 0
    assert "SSH-2.0" not in forwarded.stdout
    assert link.ask("h1", "-s", "sftp").returncode != 0


def test_pushed_whole_once_and_never_over_something_else(link: WalLink) -> None:
    content = os.urandom(16 * MEGABYTE)
    link.write("h3", "/srv/postgres/data/pg_wal/new", content)
    assert link.push("pg_wal/new", segment(0)).returncode == 0
    assert (link.archived("h1") / segment(0)).read_bytes() == content
    assert link.push("pg_wal/new", segment(0)).returncode == 0
    link.write("h3", "/srv/postgres/data/pg_wal/new", bytes([content[0] ^ 1]) + content[1:])
    done = link.push("pg_wal/new", segment(0))
    assert done.returncode == 1
    assert "nothing was overwritten" in done.stderr
    assert (link.archived("h1") / segment(0)).read_bytes() == content
    assert [path.name for path in link.archived("h1").iterdir() if path.is_file()] == [segment(0)]
    assert list(link.archived("h1").glob(".incoming/*")) == []


def archived_content(link: WalLink, stored: str) -> bytes:
    program = {".zst": "zstd", ".lz4": "lz4"}.get(stored[-4:])
    path = str(link.archived("h1") / stored)
    return subprocess.run([program, "-dcq", path] if program else ["cat", path], capture_output=True).stdout


@pytest.mark.parametrize("form", [(), ("zstd", "1")], ids=["none", "zstd"])
def test_a_backlog_is_pushed_ahead_whole_and_with_checksums(link: WalLink, form: tuple[str, ...]) -> None:
    contents = {segment(number): os.urandom(MEGABYTE) for number in range(4085, 4105)}
    for name, content in contents.items():
        link.finish(name, content)
    assert link.archive_one(*form)
    wait_until(lambda: len(list(link.archived("h1").glob("0*"))) == 20, "the others are there before their calls", 60)
    wait_until(lambda: not link.pushing(), "the worker ends", 30)
    link.hosts.block("h3", "h1")
    while link.ready():
        assert link.archive_one(*form), "no connection is needed for what is known"
    suffix = ".zst" if form else ""
    assert {name: archived_content(link, name + suffix) for name in contents} == contents
    check = "cd \"$1\" && cksum $(cut -d' ' -f3 checksums/* | sort) | sort >../now; sort checksums/* | diff - ../now"
    done = subprocess.run(["sh", "-c", check, "sh", str(link.archived("h1"))], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert list(link.archived("h1").glob(".incoming/*")) == []


def test_a_backlog_ends_with_an_error_where_the_last_file_differs(link: WalLink) -> None:
    contents = {segment(number): os.urandom(MEGABYTE) for number in range(5)}
    for name, content in contents.items():
        link.finish(name, content)
    link.store("h1", segment(4), b"other")
    while len(link.ready()) > 1:
        assert link.archive_one()
    done = link.push(f"pg_wal/{segment(4)}", segment(4))
    assert done.returncode == 1
    assert "nothing was overwritten" in done.stderr
    contents[segment(4)] = b"other"
    assert {path.name: path.read_bytes() for path in link.archived("h1").glob("0*")} == contents
    wait_until(lambda: not link.pushing(), "nobody waits for what does not come", 30)


def sent_by_hand(name: str, content: bytes, meant: bytes, *, packed: bool) -> bytes:
    """What a node sends for a segment, with the checksum of what was meant."""
    sum_, size = subprocess.run(["cksum"], input=meant, capture_output=True, check=True).stdout.decode().split()
    body = subprocess.run(["lz4", "-qc"], input=content, capture_output=True, check=True).stdout if packed else content
    return f"file {name} {size} {sum_}{f' {len(body)} lz4' if packed else ''}\n".encode() + body


@pytest.mark.parametrize("packed", [False, True], ids=["as it is", "compressed on its way"])
def test_nothing_of_a_batch_gets_a_name_where_one_file_did_not_come_as_it_was_sent(link: WalLink, packed: bool) -> None:
    contents = [os.urandom(MEGABYTE) for _ in range(8)]
    names = [segment(number) for number in range(8)]
    for damaged in range(1, 8, 3):
        meant = [*contents[:damaged], os.urandom(MEGABYTE), *contents[damaged + 1 :]]
        files = [
            sent_by_hand(name, content, whole, packed=packed)
            for name, content, whole in zip(names, contents, meant, strict=True)
        ]
        link.write("h3", f"{link.folder}/stdin", b"".join([files[0], b"commit\n", *files[1:], b"commit\n"]))
        done = link.ask("h1", "store", stdin="stdin")
        assert f"{names[damaged]} did not come as it was sent" in done.stderr
        assert [line for line in done.stdout.splitlines() if "stored" in line] == [f"pgtandem-wal stored {names[0]}"]
        assert [path.name for path in link.archived("h1").glob("0*")] == [names[0]]


def test_a_host_that_an_older_pgtandem_has_made_sends_and_takes_wal_as_it_is(link: WalLink) -> None:
    older = SERVE_TEXT.replace("| 4.get", "").replace("1.programs)", "1.nothing)").replace("lz4 | zstd)", "none)")
    assert older.count("packed lz4") == 1, "what it answers stays as it was"
    link.write("h1", "/srv/postgres/.ssh/pgtandem/shop/serve-wal", older)
    contents = {segment(number): os.urandom(MEGABYTE) for number in range(5)}
    for name, content in contents.items():
        link.finish(name, content)
    while link.ready():
        assert link.archive_one()
    assert {name: archived_content(link, name) for name in contents} == contents
    link.has_slow_way("h1")
    assert {name: fetched(link, name) for name in contents} == contents


@pytest.mark.parametrize(
    "what", ["the worker", *(pytest.param(one, marks=pytest.mark.chaos) for one in ("the archive's side", "the host"))]
)
def test_killed_while_a_backlog_is_pushed_everything_comes_in_the_end(link: WalLink, what: str) -> None:
    contents = {segment(number): os.urandom(MEGABYTE) for number in range(30)}
    for name, content in contents.items():
        link.finish(name, content)
    assert link.archive_one()
    if what == "the worker":
        for pid in link.pushing():
            link.hosts.run("h3", ["kill", "-9", str(pid)])
    elif what == "the archive's side":
        for pid in link.hosts.processes("h1", "serve-wal"):
            link.hosts.run("h1", ["kill", "-9", str(pid)])
    else:
        link.hosts.crash("h1")
        link.hosts.boot("h1")
    for name in link.archived("h1").glob("0*"):
        assert name.read_bytes() == contents[name.name], "nothing half has a name"
    wait_until(lambda: not link.ready() or (link.archive_one() and False), "all of it is archived", 120)
    assert {path.name: path.read_bytes() for path in link.archived("h1").glob("0*")} == contents
    wait_until(lambda: not link.pushing(), "nothing runs on", 30)


def test_a_damaged_segment_of_a_host_is_never_used_and_another_host_is_asked(link: WalLink) -> None:
    for number in range(3):
        link.finish(segment(number), os.urandom(MEGABYTE))
        assert link.archive_one("zstd", "1")
    stored = link.archived("h1") / f"{segment(1)}.zst"
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.write_bytes(bytes(content))
    assert fetched(link, segment(0)) == (link.data / "pg_wal" / segment(0)).read_bytes()
    calls = [link.fetch(segment(1))]
    wait_until(lambda: calls[-1].stderr or calls.append(link.fetch(segment(1))), "it is told", 60)
    assert calls[-1].returncode == 1
    assert f"{segment(1)} is damaged in the archive" in calls[-1].stderr
    link.store("h2", segment(1), (link.data / "pg_wal" / segment(1)).read_bytes())
    wait_until(lambda: link.fetch(segment(1)).returncode == 0, "the other host has it", 60)
    assert (link.data / "pg_wal/RECOVERYXLOG").read_bytes() == (link.data / "pg_wal" / segment(1)).read_bytes()


def test_pushing_fails_within_seconds_where_the_host_is_silent(link: WalLink) -> None:
    link.write("h3", "/srv/postgres/data/pg_wal/new", b"new")
    link.hosts.block("h3", "h1")
    began = time.monotonic()
    done = link.push("pg_wal/new", segment(0))
    assert done.returncode == 1, "not above 125: the archiver would count no failure"
    assert "could not put" in done.stderr
    assert time.monotonic() - began < 30


def test_pushing_says_that_the_archive_is_not_there(link: WalLink) -> None:
    link.write("h3", "/srv/postgres/data/pg_wal/new", b"new")
    link.archived("h1").rename(link.archived("h1").with_name("unmounted"))
    done = link.push("pg_wal/new", segment(0))
    link.archived("h1").with_name("unmounted").rename(link.archived("h1"))
    assert done.returncode == 1
    assert "folder is not there on h1" in done.stderr
