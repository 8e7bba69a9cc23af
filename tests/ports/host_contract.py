"""What every Host must do: the real adapters and the fake are held to the same tests.

A test module derives from these classes and gives two fixtures: `host`, and `place`, an empty folder on that host in
which its account may write. Nothing here looks at the host but through the port.
"""

import asyncio
import contextlib
import time

import pytest

from pgtandem.model.facts import Known
from pgtandem.ports.host import CommandTimeout, Completed, Host, HostFailure
from ports.host_files_contract import HostFilesContract
from ports.host_scenarios import ODD_NAMES, becomes_true, finish, is_gone


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

    def test_folder_that_a_program_still_fills_is_removed(self, host: Host, place: str) -> None:
        """As tar does, or a base backup, when the pgtandem that started it was killed: it goes on for a while."""
        fills = 'cd "$1" && n=0 && while mkdir $n && : >$n/file; do n=$((n + 1)); done 2>/dev/null'

        async def scenario() -> None:
            await host.make_directory(f"{place}/tree")
            filling = asyncio.create_task(host.run(["sh", "-c", fills, "sh", f"{place}/tree"]))

            async def has_begun() -> bool:
                return len(await host.list_directory(f"{place}/tree") or ()) > 20

            assert await becomes_true(has_begun)
            await host.remove_tree(f"{place}/tree")
            assert await host.list_directory(place) == ()
            await filling

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
