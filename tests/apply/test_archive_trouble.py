"""What is quoted of a server's log where WAL does not get into the archive."""

from pgtandem.apply.archive_trouble import by_the_command, seems_to_hang

LOG = """\
2026-11-26 10:54:00.097 UTC [25512] LOG:  archive command failed with exit code 1
cp: error writing '/archive/.incoming/1/000000010000000000000005': No space left on device
2026-11-26 10:54:01.097 UTC [25512] LOG:  archive command failed with exit code 1
2026-11-26 10:54:01.097 UTC [25512] DETAIL:  The failed archive command was: set -- "pg_wal/000000010000000000000005"
cp: error writing '/archive/.incoming/1/000000010000000000000005': No space left on device
2026-11-26 10:54:02.097 UTC [25512] LOG:  archive command failed with exit code 1
2026-11-26 10:54:02.097 UTC [25512] WARNING:  archiving write-ahead log file "000000010000000000000005" failed
2026-11-26 10:54:03.097 UTC [25513] 53100 db@shop ERROR:  could not extend file
"""


def test_what_the_archive_command_said_is_told_once_and_without_the_servers_own_lines() -> None:
    assert by_the_command(LOG.splitlines()) == [
        "cp: error writing '/archive/.incoming/1/000000010000000000000005': No space left on device"
    ]


def test_command_that_hangs_leaves_nothing_in_the_log() -> None:
    other = '2026-11-26 21:09:07.960 UTC [16022] HINT:  Consider increasing the configuration parameter "max_wal_size".'
    assert seems_to_hang([])
    assert seems_to_hang([other])
    assert not seems_to_hang([other, "cp: cannot stat '/archive': No such file or directory"])
    assert not seems_to_hang(["2026-11-26 21:06:59 UTC [28737] FATAL:  archive command failed with exit code 127"])


def test_what_python_could_not_tidy_up_does_not_hide_what_a_tool_said() -> None:
    lines = [
        "ERROR: The configuration file is not there",
        "Exception ignored in: <function _Stream.__del__ at 0x7f5c030885e0>",
        "Traceback (most recent call last):",
        '  File "/usr/lib/python3/tarfile.py", line 461, in close',
        "    self.fileobj.write(self.buf)",
        "ValueError: write to closed file",
        "2026-11-26 22:31:00 UTC [1] LOG:  archive command failed with exit code 1",
        "KeyError: of the tool itself",
    ]
    assert by_the_command(lines) == ["ERROR: The configuration file is not there", "KeyError: of the tool itself"]
