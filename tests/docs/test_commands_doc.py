"""docs/commands.md against the parser: every command and option, and no other."""

import argparse
import re

import pytest

from docs.pages import page, rows, sections
from pgtandem.cli.arguments import parsers
from pgtandem.cli.new_topology import DEFAULT_STANDBYS
from pgtandem.cli.usage import COMMANDS


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """As help shows them: "-f FILE", "--file FILE", "DIR"."""
    described = parser.format_help().split("examples:")[0]
    table = re.findall(r"^  (-[^\n]*?|[A-Z]+)(?:  +\S.*)?$", described, re.MULTILINE)
    return {option for line in table for option in line.split(", ")}


def documented(title: str) -> set[str]:
    named = [row[0] for row in rows(sections(page("commands.md"))[title])]
    return {option for cell in named for option in re.findall(r"`([^`]+)`", cell)}


def test_every_command_is_documented_in_the_order_of_the_help_and_no_other() -> None:
    assert [title for title in sections(page("commands.md")) if title] == list(COMMANDS)


def test_the_options_of_all_commands_are_documented_and_no_other() -> None:
    top, _ = parsers()
    assert documented("") == options_of(top) - {"COMMAND"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_documented_and_no_other(name: str) -> None:
    _, subs = parsers()
    everywhere = {"-h", "--help", "-f FILE", "--file FILE"}
    assert documented(name) == options_of(subs[name]) - everywhere


def test_defaults_are_the_documented_ones() -> None:
    _, subs = parsers()
    text = sections(page("commands.md"))["init"]
    defaults = vars(subs["init"].parse_args([]))
    assert f"how many standbys on this machine, {DEFAULT_STANDBYS} by default" in text
    assert f"the major version, {defaults['postgresql']} by default" in text
    assert f"`{defaults['durability']}` (default)" in text
    assert f"`{defaults['synchronous']}` (default)" in text
