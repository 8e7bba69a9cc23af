"""A host over SSH: the contract on a real sshd in a network namespace, and what the contract cannot see of files."""

import stat
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgtandem.adapters.hosts.ssh import SshHost
from pgtandem.ports.host import Host, HostFailure
from support.hosts import Hosts

from .host_contract import HostContract
from .host_scenarios import becomes_true, finish
from .ssh_seat import Seat


class TestSshHost(HostContract):
    pass


class TestFiles:
    """What the contract cannot see: owners, modes, links."""

    def test_modes_and_owners_are_exact(self, hosts: Hosts, host: Host, place: str) -> None:
        for name, size in (("small", 10), ("big", 100_000)):
            finish(host.write_file(f"{place}/{name}", b"x" * size, 0o644))
        finish(host.make_directory(f"{place}/a/b", 0o750))
        account = (hosts.srv("h1") / "postgres").stat()
        for name, mode in (("small", 0o644), ("big", 0o644), ("a", 0o755), ("a/b", 0o750)):
            info = (hosts.srv("h1") / "place" / name).stat()
            assert stat.S_IMODE(info.st_mode) == mode
            assert (info.st_uid, info.st_gid) == (account.st_uid, account.st_gid)

    def test_file_that_does_not_fit_leaves_the_old_one(self, hosts: Hosts, host: Host, place: str) -> None:
        folder = hosts.srv("h1") / "place"
        mounted = hosts.run("h1", ["mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "none", place])
        assert mounted.returncode == 0, mounted.stderr
        try:
            finish(host.write_file(f"{place}/file", b"old"))
            finish(host.write_file(f"{place}/filler", b"x" * 57_344))  # leaves a page
            for size in (100_000, 8_000):
                with pytest.raises(HostFailure) as caught:
                    finish(host.write_file(f"{place}/file", b"x" * size))
                assert "No space left on device" in caught.value.why
                assert finish(host.list_directory(place)) == ("file", "filler")
            assert finish(host.read_file(f"{place}/file")) == b"old"
        finally:
            hosts.run("h1", ["umount", place])
        assert not list(folder.iterdir())

    def test_what_may_not_be_looked_at_is_a_failure_and_not_absent(self, host: Host) -> None:
        for attempt in (
            host.read_file("/srv/bob/.ssh/none"),
            host.list_directory("/srv/bob/.ssh"),
            host.remove_file("/srv/bob/.ssh/none"),
            host.remove_tree("/srv/bob/.ssh/none"),
            host.make_directory("/srv/bob/.ssh/none"),
            host.write_file("/srv/bob/file", b""),
        ):
            with pytest.raises(HostFailure) as caught:
                finish(attempt)
            assert "Permission denied" in caught.value.why

    def test_folder_of_another_is_refused_with_a_remedy(self, host: Host) -> None:
        with pytest.raises(HostFailure) as caught:
            finish(host.make_directory("/srv/bob"))
        assert caught.value.why == 'It is there, belongs to bob, and account "postgres" may not write in it.'
        with pytest.raises(HostFailure) as caught:
            finish(host.make_directory("/srv/data"))
        assert caught.value.next_step == "on the host, as root:  install -d -o postgres -m 700 '/srv/data'"

    def test_a_folder_that_is_mounted_read_only_is_told_as_that(self, hosts: Hosts, host: Host) -> None:
        """Not as one that the account may not write in, with a command that gives it to whom it belongs already."""
        place = "/srv/postgres/read-only"
        hosts.run("h1", ["mkdir", place], user="postgres")
        hosts.run("h1", ["mount", "-t", "tmpfs", "-o", "ro,uid=64321", "tmpfs", place])
        try:
            with pytest.raises(HostFailure) as caught:
                finish(host.make_directory(place))
            assert "Read-only file system" in caught.value.why
            assert "install -d" not in (caught.value.next_step or "")
        finally:
            hosts.run("h1", ["umount", place])
            hosts.run("h1", ["rmdir", place])

    def test_what_is_in_the_way_of_a_folder_is_told_with_the_command_for_the_host(self, host: Host) -> None:
        found = finish(host.obstacle("/srv/data/db1"))
        assert found is not None
        assert (found.path, found.remedy) == ("/srv", "sudo install -d -o postgres -g postgres /srv/data/db1")
        assert found.why == 'Account "postgres" may not write in /srv (it belongs to root).'
        found = finish(host.obstacle("/srv/bob/.ssh/data"))
        assert found is not None
        assert (found.path, found.remedy) == ("/srv/bob/.ssh", "sudo chmod a+x /srv/bob/.ssh")
        found = finish(host.obstacle("/srv/bob"))
        assert found is not None
        assert found.remedy == "sudo chown postgres:postgres /srv/bob"

    def test_links_are_replaced_and_never_followed(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            await host.write_file(f"{place}/target", b"kept")
            await host.make_directory(f"{place}/tree/inner")
            await host.run(["ln", "-s", f"{place}/target", f"{place}/link"])
            await host.run(["ln", "-s", f"{place}/tree", f"{place}/treelink"])
            await host.run(["ln", "-s", f"{place}/target", f"{place}/tree/inner/link"])
            await host.write_file(f"{place}/link", b"new")
            assert await host.read_file(f"{place}/target") == b"kept"
            for path in (f"{place}/treelink", f"{place}/treelink/"):
                with pytest.raises(HostFailure) as caught:
                    await host.remove_tree(path)
                assert caught.value.why == "It is a link."
            await host.remove_tree(f"{place}/tree")
            assert await host.read_file(f"{place}/target") == b"kept"

        finish(scenario())

    def test_fifo_does_not_hold_the_reader(self, host: Host, place: str) -> None:
        finish(host.run(["mkfifo", f"{place}/fifo"]))
        with pytest.raises(HostFailure) as caught:
            finish(host.read_file(f"{place}/fifo"))
        assert caught.value.why == "It is not a regular file."

    def test_file_that_goes_and_comes_back_is_read_or_absent(self, hosts: Hosts, host: Host, place: str) -> None:
        """As postmaster.pid does while a server starts after a crash."""
        path = f"{place}/file"
        comes_and_goes = 'while [ -e "$1.go" ]; do echo x >"$1.new"; mv "$1.new" "$1"; rm "$1"; done; : >"$1.over"'

        seen: set[bytes | None] = set()

        async def both_were_seen() -> bool:
            seen.add(await host.read_file(path))
            return len(seen) > 1

        async def scenario() -> None:
            await host.write_file(f"{path}.go", b"")
            await host.run(["sh", "-c", '(timeout 60 sh -c "$0" sh "$1") >/dev/null 2>&1 &', comes_and_goes, path])
            try:
                seen.update([await host.read_file(path) for _ in range(300)])
                assert await becomes_true(both_were_seen)
            finally:
                await host.remove_file(f"{path}.go")
                assert await becomes_true(is_over)

        async def is_over() -> bool:
            return await host.read_file(f"{path}.over") is not None

        finish(scenario())
        assert seen == {None, b"x\n"}

    def test_nothing_is_moved_between_file_systems(self, host: Host, place: str) -> None:
        finish(host.write_file(f"{place}/a", b"x"))
        with pytest.raises(HostFailure) as caught:
            finish(host.rename(f"{place}/a", "/tmp/a"))
        assert caught.value.why == "The two places are on different file systems."

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        name=st.text(st.characters(exclude_characters="\0/", exclude_categories=("Cs",)), min_size=1, max_size=40),
        content=st.binary(max_size=300),
    )
    def test_any_name_and_any_content_survive(
        self, lasting: Callable[[str], SshHost], seat: Seat, name: str, content: bytes
    ) -> None:
        if name in (".", "..") or len(name.encode()) > 200:
            return
        host = lasting("alice")

        async def scenario() -> None:
            folder = f"/tmp/{name}"
            await host.make_directory(folder)
            await host.write_file(f"{folder}/{name}", content)
            assert await host.list_directory(folder) == (name,)
            assert await host.read_file(f"{folder}/{name}") == content
            await host.remove_tree(folder)
            assert await host.list_directory(folder) is None

        finish(scenario())

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        arguments=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=30)),
        value=st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))),
        stdin=st.binary(max_size=300),
    )
    def test_any_arguments_environment_and_input_survive(
        self, lasting: Callable[[str], SshHost], seat: Seat, arguments: list[str], value: str, stdin: bytes
    ) -> None:
        host = lasting("alice")
        script = 'printf "%s|" "$VALUE" "$@"; cat'
        completed = finish(host.run(["sh", "-c", script, "sh", *arguments], stdin=stdin, environment={"VALUE": value}))
        assert completed.stdout == "".join(f"{text}|" for text in [value, *arguments]).encode() + stdin
