"""What every Host must do: the real adapters and the fake are held to the same tests.

A test module derives from these classes and gives two fixtures: `host`, and `place`, an empty folder on that host in
which its account may write. Nothing here looks at the host but through the port.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest

from pgtandem.model.facts import Known
from pgtandem.ports.host import CommandTimeout, Completed, Host, HostFailure

T = TypeVar("T")

ODD_NAMES = [
    "with a blank",
    'it\'s "quoted"',
    "$HOME `id` $(id) ;|&",
    "-rf",
    "日本語 äöü",
    "two\nlines",
    "*?[a]",
    "back\\slash",
]


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end."""
    return asyncio.run(coroutine)


async def becomes_true(condition: Callable[[], Awaitable[bool]], seconds: float = 30) -> bool:
    """Waits for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


async def is_gone(host: Host, pid: int) -> bool:
    async def gone() -> bool:
        return not await host.process_alive(pid)

    return await becomes_true(gone)


class HostFilesContract:
    """Files and folders."""

    def test_file_that_was_written_is_read_back(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            assert await host.read_file(f"{place}/a") is None
            await host.write_file(f"{place}/a", b"one\x00\xff")
            assert await host.read_file(f"{place}/a") == b"one\x00\xff"
            await host.write_file(f"{place}/a", b"")
            assert await host.read_file(f"{place}/a") == b""

        finish(scenario())

    def test_big_file_is_read_back_whole(self, host: Host, place: str) -> None:
        content = bytes(range(256)) * 20_000

        async def scenario() -> None:
            await host.write_file(f"{place}/big", content)
            assert await host.read_file(f"{place}/big") == content

        finish(scenario())

    def test_writing_leaves_nothing_else_behind(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            await host.write_file(f"{place}/a", b"one")
            await host.write_file(f"{place}/a", b"two")
            assert await host.list_directory(place) == ("a",)

        finish(scenario())

    def test_write_that_fails_leaves_nothing_behind(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            await host.make_directory(f"{place}/folder")
            with pytest.raises(HostFailure):
                await host.write_file(f"{place}/folder", b"a file where a folder is")
            with pytest.raises(HostFailure, match="missing"):
                await host.write_file(f"{place}/missing/a", b"x")
            assert await host.list_directory(place) == ("folder",)

        finish(scenario())

    def test_stamp_is_another_one_once_a_file_was_written(self, host: Host, place: str) -> None:
        """Or it is none at all, everywhere, on a host that would have to run a program for it."""

        async def scenario() -> None:
            assert await host.stamp(f"{place}/a") is None
            await host.write_file(f"{place}/a", b"one")
            first = await host.stamp(f"{place}/a")
            assert await host.stamp(f"{place}/a") == first
            await host.write_file(f"{place}/a", b"two")
            second = await host.stamp(f"{place}/a")
            assert (first is None) == (second is None)
            assert first is None or second != first

        finish(scenario())

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_names_need_no_quoting(self, host: Host, place: str, name: str) -> None:
        async def scenario() -> None:
            folder = f"{place}/{name}"
            await host.make_directory(folder)
            await host.write_file(f"{folder}/{name}", name.encode())
            assert await host.list_directory(place) == (name,)
            assert await host.list_directory(folder) == (name,)
            assert await host.read_file(f"{folder}/{name}") == name.encode()
            await host.rename(f"{folder}/{name}", f"{folder}/2{name}")
            await host.sync_tree(folder)
            await host.remove_file(f"{folder}/2{name}")
            await host.write_file(f"{folder}/3{name}", b"")
            await host.remove_tree(folder)
            assert await host.list_directory(place) == ()

        finish(scenario())

    def test_failure_names_the_path_in_one_line(self, host: Host, place: str) -> None:
        with pytest.raises(HostFailure) as caught:
            finish(host.write_file(f"{place}/two\nlines/a", b""))
        assert "\n" not in caught.value.what
        assert "lines/a" in caught.value.what
        assert caught.value.why
        assert caught.value.code.text == "PT-2003"

    def test_relative_path_is_refused(self, host: Host) -> None:
        with pytest.raises(HostFailure, match="could not write"):
            finish(host.write_file("relative", b""))

    def test_text_that_cannot_be_a_path_is_refused(self, host: Host, place: str) -> None:
        with pytest.raises(HostFailure):
            finish(host.read_file(f"{place}/\x00"))

    def test_folder_that_is_not_there_is_none(self, host: Host, place: str) -> None:
        assert finish(host.list_directory(f"{place}/missing")) is None

    def test_file_is_not_listed_as_a_folder(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            await host.write_file(f"{place}/a", b"")
            with pytest.raises(HostFailure):
                await host.list_directory(f"{place}/a")
            with pytest.raises(HostFailure):
                await host.read_file(place)

        finish(scenario())

    def test_names_are_listed_in_order(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            for name in ("b", ".hidden", "a", "C"):
                await host.write_file(f"{place}/{name}", b"")
            assert await host.list_directory(place) == (".hidden", "C", "a", "b")

        finish(scenario())

    def test_folder_is_made_with_its_parents_and_again(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            for _ in range(2):
                await host.make_directory(f"{place}/a/b/c")
            await host.write_file(f"{place}/a/b/c/file", b"kept")
            await host.make_directory(f"{place}/a/b/c/")
            assert await host.read_file(f"{place}/a/b/c/file") == b"kept"

        finish(scenario())

    def test_folder_is_not_made_where_a_file_is(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            await host.write_file(f"{place}/a", b"kept")
            for path in (f"{place}/a", f"{place}/a/b"):
                with pytest.raises(HostFailure):
                    await host.make_directory(path)
            assert await host.read_file(f"{place}/a") == b"kept"

        finish(scenario())

    def test_nothing_is_in_the_way_of_a_folder_that_can_be_made(self, host: Host, place: str) -> None:
        finish(host.make_directory(f"{place}/there"))
        for path in (place, f"{place}/there", f"{place}/a/b", f"{place}/it's $HOME"):
            assert finish(host.obstacle(path)) is None
        assert finish(host.list_directory(place)) == ("there",), "looking makes nothing"

    def test_file_is_in_the_way_of_a_folder(self, host: Host, place: str) -> None:
        finish(host.write_file(f"{place}/it's a file", b""))
        for path in (f"{place}/it's a file", f"{place}/it's a file/a/b"):
            found = finish(host.obstacle(path))
            assert found is not None
            assert (found.path, found.remedy) == (f"{place}/it's a file", "")
            with pytest.raises(HostFailure):
                finish(host.make_directory(path))

    def test_rename_replaces_a_file_and_an_empty_folder(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            await host.write_file(f"{place}/a", b"a")
            await host.write_file(f"{place}/b", b"b")
            await host.rename(f"{place}/a", f"{place}/b")
            assert await host.read_file(f"{place}/b") == b"a"
            await host.make_directory(f"{place}/full")
            await host.write_file(f"{place}/full/file", b"x")
            await host.make_directory(f"{place}/empty")
            await host.rename(f"{place}/full", f"{place}/empty")
            assert await host.list_directory(place) == ("b", "empty")
            assert await host.read_file(f"{place}/empty/file") == b"x"

        finish(scenario())

    def test_rename_never_replaces_a_folder_that_holds_something(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            for name in ("a", "b"):
                await host.make_directory(f"{place}/{name}")
                await host.write_file(f"{place}/{name}/file", name.encode())
            with pytest.raises(HostFailure):
                await host.rename(f"{place}/a", f"{place}/b")
            with pytest.raises(HostFailure):
                await host.rename(f"{place}/missing", f"{place}/c")
            assert await host.read_file(f"{place}/b/file") == b"b"

        finish(scenario())

    def test_removing_what_is_not_there_is_fine(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            await host.remove_file(f"{place}/missing")
            await host.remove_file(f"{place}/missing/file")
            await host.remove_tree(f"{place}/missing")

        finish(scenario())

    def test_tree_is_removed_with_everything_in_it(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            await host.make_directory(f"{place}/tree/a/b")
            await host.write_file(f"{place}/tree/a/b/file", b"")
            await host.write_file(f"{place}/other", b"kept")
            await host.remove_tree(f"{place}/tree")
            assert await host.list_directory(place) == ("other",)

        finish(scenario())

    @pytest.mark.parametrize("path", ["/", "/var", "/var/", "//", "/var/..", "/var/lib/../..", "/."])
    def test_tree_near_the_root_is_never_removed(self, host: Host, path: str) -> None:
        with pytest.raises(HostFailure):
            finish(host.remove_tree(path))

    def test_file_is_not_removed_as_a_tree(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            await host.write_file(f"{place}/a", b"kept")
            with pytest.raises(HostFailure):
                await host.remove_tree(f"{place}/a")
            assert await host.read_file(f"{place}/a") == b"kept"

        finish(scenario())

    def test_syncing_what_is_not_there_fails(self, host: Host, place: str) -> None:
        with pytest.raises(HostFailure):
            finish(host.sync_tree(f"{place}/missing"))

    def test_disk_space_is_that_of_the_nearest_parent(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            there = await host.disk_space(place)
            below = await host.disk_space(f"{place}/not/yet")
            assert 0 <= there.free_bytes <= there.total_bytes
            assert (below.device, below.total_bytes) == (there.device, there.total_bytes)

        finish(scenario())


class HostBasicsContract:
    """Programs and processes, as far as the host needs no shell for it."""

    def test_account_is_known_and_programs_run_as_it(self, host: Host) -> None:
        async def scenario() -> None:
            completed = await host.run(["id", "-un"])
            assert await host.account() == Known(completed.text.strip())

        finish(scenario())

    def test_program_that_is_not_there_fails(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            for program in ("pgtandem-no-such-program", f"{place}/missing", place):
                with pytest.raises(HostFailure, match="could not run"):
                    await host.run([program])
            with pytest.raises(HostFailure, match="could not run"):
                await host.run(["echo", "a\x00b"])

        finish(scenario())

    @pytest.mark.parametrize("pid", [0, -1, 2**22 + 1])
    def test_impossible_process_does_not_live(self, host: Host, pid: int) -> None:
        assert not finish(host.process_alive(pid))

    @pytest.mark.parametrize("pid", [1, 0, -1])
    def test_groups_and_the_first_process_are_never_ended(self, host: Host, pid: int) -> None:
        with pytest.raises(HostFailure):
            finish(host.end_process(pid))


class HostProgramsContract:
    """Programs and processes. The host needs a POSIX shell, which only the tests use."""

    def test_link_is_read_as_it_stands_and_what_is_none_is_none(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            target = "/no such/place $HOME\né"
            await host.run(["ln", "-s", target, f"{place}/link"])
            await host.write_file(f"{place}/file", b"")
            assert await host.read_link(f"{place}/link") == target
            for name in ("file", "missing", "file/below", "."):
                assert await host.read_link(f"{place}/{name}") is None

        finish(scenario())

    def test_program_runs_as_who_logged_in(self, host: Host, login: str) -> None:
        """`login` is a fixture of each adapter's: who pgtandem is on the host."""
        done = finish(host.run_as_login(["sh", "-c", "id -un; exit 3"]))
        assert done.exit_code == 3
        assert done.text.strip() == login

    def test_exit_code_and_both_outputs_come_back(self, host: Host) -> None:
        completed = finish(host.run(["sh", "-c", "echo out; echo err >&2; exit 3"]))
        assert completed == Completed(3, b"out\n", b"err\n")
        assert completed.complaint == "err"

    def test_death_by_signal_is_a_negative_code(self, host: Host) -> None:
        assert finish(host.run(["sh", "-c", "kill -9 $$"])).exit_code == -9

    def test_arguments_need_no_quoting(self, host: Host) -> None:
        completed = finish(host.run(["printf", "%s|", "", *ODD_NAMES]))
        assert completed.stdout == "".join(f"{name}|" for name in ["", *ODD_NAMES]).encode()

    def test_environment_is_empty_but_for_what_is_needed(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PGPASSWORD", "from outside")
        completed = finish(host.run(["env"], environment={"PGAPPNAME": "odd 'name'"}))
        variables = dict(line.split("=", 1) for line in completed.text.splitlines())
        assert variables["LC_ALL"] == "C"
        assert variables["PGAPPNAME"] == "odd 'name'"
        assert {"PATH", "HOME"} <= variables.keys()
        assert "PGPASSWORD" not in variables

    def test_new_files_are_private(self, host: Host) -> None:
        assert finish(host.run(["sh", "-c", "umask"])).text.strip() == "0077"

    def test_input_is_passed_on(self, host: Host) -> None:
        content = bytes(range(256)) * 4000
        assert finish(host.run(["cat"], stdin=content)).stdout == content

    def test_without_input_there_is_an_end_at_once(self, host: Host) -> None:
        assert finish(host.run(["cat"])) == Completed(0)

    def test_input_and_outputs_can_be_opened_by_name(self, host: Host) -> None:
        # As initdb --pwfile=/dev/stdin does: the pipes must belong to the account.
        script = "cat /dev/stdin; echo out >/dev/stdout; echo err >/dev/stderr"
        completed = finish(host.run(["sh", "-c", script], stdin=b"in\n"))
        assert completed == Completed(0, b"in\nout\n", b"err\n")

    def test_program_that_does_not_read_its_input_is_no_trouble(self, host: Host) -> None:
        assert finish(host.run(["true"], stdin=b"x" * 1_000_000)).exit_code == 0

    def test_much_output_on_both_sides_comes_back(self, host: Host) -> None:
        script = "i=0; while [ $i -lt 3000 ]; do echo $i-out; echo $i-err >&2; i=$((i+1)); done"
        completed = finish(host.run(["sh", "-c", script]))
        assert completed.text.splitlines()[-1] == "2999-out"
        assert completed.stderr.decode().splitlines()[-1] == "2999-err"

    def test_progress_is_passed_on_as_it_comes(self, host: Host, place: str) -> None:
        # The program waits for a file that is only written when its progress has arrived.
        async def scenario() -> None:
            arrived = asyncio.Event()
            seen: list[bytes] = []

            def on_output(data: bytes) -> None:
                seen.append(data)
                arrived.set()

            script = 'printf "10%%\\r" >&2; until [ -e "$1/go" ]; do sleep 0.01; done; printf "100%%\\r" >&2'
            running = asyncio.create_task(host.run(["sh", "-c", script, "sh", place], on_output=on_output))
            await asyncio.wait_for(arrived.wait(), 10)
            assert b"".join(seen) == b"10%\r"
            await host.write_file(f"{place}/go", b"")
            completed = await running
            assert b"".join(seen) == completed.stderr == b"10%\r100%\r"

        finish(scenario())

    def test_failure_of_the_one_who_watches_ends_the_program(self, host: Host) -> None:
        async def scenario() -> None:
            pids: list[int] = []

            def on_output(data: bytes) -> None:
                pids.extend(int(word) for word in data.split())
                raise RuntimeError("no more")

            with pytest.raises(RuntimeError, match="no more"):
                await host.run(["sh", "-c", "echo $$ >&2; exec sleep 600"], on_output=on_output)
            assert await is_gone(host, pids[0])

        finish(scenario())

    @pytest.mark.parametrize("trap", ["", "trap '' TERM; "], ids=["polite", "stubborn"])
    def test_deadline_ends_the_program_and_its_children(self, host: Host, trap: str) -> None:
        async def scenario() -> None:
            said = bytearray()
            script = f"{trap}sleep 600 & echo $$ $! >&2; wait; sleep 600"
            with pytest.raises(CommandTimeout, match=r"sh on .* did not end within 1 seconds"):
                await host.run(["sh", "-c", script], deadline_seconds=1, on_output=said.extend)
            pids = [int(word) for word in said.split()]
            assert len(pids) == 2
            for pid in pids:
                assert await is_gone(host, pid)

        finish(scenario())

    def test_cancellation_ends_the_program_and_its_children(self, host: Host) -> None:
        async def scenario() -> None:
            said = bytearray()
            started = asyncio.Event()

            def on_output(data: bytes) -> None:
                said.extend(data)
                if b"\n" in said:
                    started.set()

            script = "sleep 600 & echo $$ $! >&2; wait"
            running = asyncio.create_task(host.run(["sh", "-c", script], on_output=on_output))
            await asyncio.wait_for(started.wait(), 10)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            for word in said.split():
                assert await is_gone(host, int(word))

        finish(scenario())

    def test_second_cancellation_does_not_wait_for_a_stubborn_program(self, host: Host) -> None:
        async def scenario() -> None:
            said = bytearray()
            started = asyncio.Event()

            def on_output(data: bytes) -> None:
                said.extend(data)
                started.set()

            script = "trap 'echo got it >&2' TERM; echo $$ >&2; while :; do sleep 1; done"
            running = asyncio.create_task(host.run(["sh", "-c", script], on_output=on_output))
            await asyncio.wait_for(started.wait(), 10)
            running.cancel()
            await asyncio.wait({running}, timeout=0.1)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert await is_gone(host, int(said.split()[0]))

        finish(scenario())

    def test_child_that_holds_the_outputs_does_not_hold_us(self, host: Host) -> None:
        async def scenario() -> None:
            begun = time.monotonic()
            completed = await host.run(["sh", "-c", "sleep 600 & echo $!"], deadline_seconds=30)
            assert time.monotonic() - begun < 20
            child = int(completed.text)
            assert completed.exit_code == 0
            assert await host.process_alive(child)
            # Not `end_process`: a shell makes its background jobs ignore SIGQUIT.
            await host.run(["sh", "-c", 'kill -9 "$1"', "sh", str(child)])
            assert await is_gone(host, child)

        finish(scenario())

    def test_a_look_is_answered_as_a_run_is(self, host: Host) -> None:
        said = finish(host.look(["sh", "-c", 'echo out; echo err >&2; printf %s "$1"; exit 3', "sh", "a 'b\n$c\\"]))
        assert (said.exit_code, said.stdout) == (3, b"out\na 'b\n$c\\")
        assert said.stderr == b"err\n"
        assert finish(host.look(["sh", "-c", "cat; kill -9 $$"])).exit_code == -9
        for program in ("/nonexistent", "nonexistent", "/etc", "/etc/passwd"):
            with pytest.raises(HostFailure):
                finish(host.look([program]))

    def test_many_programs_run_at_once(self, host: Host) -> None:
        async def scenario() -> None:
            runs = [host.run(["sh", "-c", "cat; echo err >&2"], stdin=str(n).encode()) for n in range(20)]
            results = await asyncio.gather(*runs)
            assert [completed.text for completed in results] == [str(n) for n in range(20)]

        finish(scenario())

    def test_program_is_executable_only_as_such(self, host: Host, place: str) -> None:
        async def scenario() -> None:
            await host.write_file(f"{place}/yes", b"#!/bin/sh\nexit 7\n", 0o700)
            await host.write_file(f"{place}/no", b"#!/bin/sh\n", 0o600)
            assert await host.can_execute(f"{place}/yes")
            assert (await host.run([f"{place}/yes"])).exit_code == 7
            for path in (f"{place}/no", f"{place}/missing", place):
                assert not await host.can_execute(path)

        finish(scenario())

    def test_process_that_ended_does_not_live(self, host: Host) -> None:
        async def scenario() -> None:
            # The parent never reaps the child: a zombie, as long as the parent runs.
            script = "sleep 0 & echo $! >&2; exec sleep 600"
            said = bytearray()
            running = asyncio.create_task(host.run(["sh", "-c", script], on_output=said.extend))

            async def has_spoken() -> bool:
                return b"\n" in said

            assert await becomes_true(has_spoken)
            assert await is_gone(host, int(said))
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

        finish(scenario())

    def test_ending_a_process_that_is_gone_is_fine(self, host: Host) -> None:
        async def scenario() -> None:
            completed = await host.run(["sh", "-c", "echo $$"])
            await host.end_process(int(completed.text))

        finish(scenario())


class HostContract(HostFilesContract, HostBasicsContract, HostProgramsContract):
    """Everything."""
