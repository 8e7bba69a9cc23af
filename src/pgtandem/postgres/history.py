"""Timelines in the names of WAL segments and in history files, which say where each was left (manual, 26.3.5)."""

from pgtandem.model.lsn import Lsn, Timeline, TimelineSwitch


def is_segment(name: str) -> bool:
    """Whether a file name is that of a WAL segment: 24 hexadecimal digits."""
    return len(name) == 24 and not set(name) - set("0123456789ABCDEF")


def segment_timeline(name: str) -> Timeline:
    return Timeline(int(name[:8], 16))


def history_timeline(name: str) -> Timeline | None:
    """The timeline that a history file tells of; None for another file."""
    stem, dot, ending = name.partition(".")
    known = dot and ending == "history" and len(stem) == 8 and not set(stem) - set("0123456789ABCDEF")
    return Timeline(int(stem, 16)) if known else None


def parse_history(text: str) -> tuple[TimelineSwitch, ...]:
    """The lines "timeline, position, reason", oldest first; comments and empty lines are left out.

    Raises ValueError for a line that is not of the form.
    """
    switches = []
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if words:
            switches.append(TimelineSwitch(Timeline(int(words[0])), Lsn.parse(words[1])))
    return tuple(switches)


def render_history(switches: tuple[TimelineSwitch, ...]) -> str:
    return "".join(f"{switch.timeline}\t{switch.at}\tno recovery target specified\n" for switch in switches)
