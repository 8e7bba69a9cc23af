"""Sentences in lines that fit the terminal. What somebody will copy out of them stays whole."""

import re
import textwrap

from pgtandem.cli.invocation import COMMAND_NAMES
from pgtandem.model.words import TO_COPY

#: A command of pgtandem as it must be called here, with its options and what stands in for a name.
_COMMAND = re.compile(
    rf"\bpgtandem(?: -f (?:'[^']*'|\S+))? (?:{COMMAND_NAMES})\b"
    r"(?: (?:(?:list|verify|prune|explain|durability)\b|--(?:node|like|to|from|into|timeline|backup) \S+|--[a-z][a-z-]*"
    r"|-c \"[^\"]*\"|[A-Z]{2,}\b|\"[^\"]*\"))*"
)
#: Stands for a space at which no line may end.
_GLUE = "\ue000"


def wrapped(text: str, columns: int, first: str = "", below: str = "") -> list[str]:
    """`first` stands before the first line and `below` before the others. Words, paths among them, are never broken.
    A command that the text ends with (TO_COPY) gets a line of its own, however long it is."""
    sentences, *to_copy = text.split(TO_COPY)
    whole = _COMMAND.sub(lambda found: found[0].replace(" ", _GLUE), sentences)
    lines = textwrap.wrap(
        whole,
        columns,
        initial_indent=first,
        subsequent_indent=below,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_GLUE, " ") for line in lines] + [below + line for line in to_copy]
