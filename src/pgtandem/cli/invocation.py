"""How the user called pgtandem, so that every command in a message can be copied as it is."""

import os
import re
import shlex
import shutil
import sys

FILE_NAME = "pgtandem.toml"

COMMAND_NAMES = (
    "up|down|init|adopt|plan|apply|status|top|report|exporter|doctor|history|whatif|switchover|failover|rejoin|archive"
    "|backup|restore|drill|bench|uri|psql"
)
_COMMANDS = re.compile(rf"\bpgtandem (?=({COMMAND_NAMES})\b)")


def program() -> str:
    """The name, or the path where the name alone would not be found, in the shortest form."""
    called = sys.argv[0]
    if os.path.basename(called) != "pgtandem":
        return "pgtandem"
    found = shutil.which("pgtandem")
    if found and os.path.realpath(found) == os.path.realpath(called):
        return "pgtandem"
    return shlex.quote(short(called))


def as_typed() -> str:
    """The command and what followed it, without the topology file, which `spelled` adds; "" where it was not typed."""
    words, left = [], iter(sys.argv[1:])
    for word in left:
        if word in ("-f", "--file"):
            next(left, None)
        elif not word.startswith(("-f", "--file=")):
            words.append(word)
    return shlex.join(words) if words and _COMMANDS.match(f"pgtandem {words[0]} ") else ""


def short(path: str) -> str:
    """A path as seen from here, or from the root: whichever is shorter."""
    try:
        return min(os.path.relpath(path), os.path.abspath(path), key=len)
    except OSError:  # this folder was removed
        return path


def on_this_file(path: str) -> str:
    """ "pgtandem" with -f where the topology file is not the one that is found without it."""
    here = short(path)
    return program() if here == FILE_NAME else f"{program()} -f {shlex.quote(here)}"


def spelled(text: str, path: str | None) -> str:
    """A text with every "pgtandem COMMAND" in it as it must be called for this topology file."""
    called = program() if path is None else on_this_file(path)
    return text if called == "pgtandem" else _COMMANDS.sub(lambda _: f"{called} ", text)
