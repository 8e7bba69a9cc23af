"""Real clusters, driven through the installed program.

The long chaos tests run only when asked for: `pytest tests/integration -m chaos`, or `-m ""` for everything.
"""

import time
from collections.abc import Callable, Iterator

import pytest

from support.provoking import Looks

#: Tells at how many lines of the journal a test cut something off.
TellLines = Callable[[int], None]

#: A chaos test that says nothing else may take so long.
_CHAOS_SECONDS = 3600


@pytest.fixture
def looks(request: pytest.FixtureRequest) -> Iterator[Looks]:
    """What doctor finds, look by look: in the end the rules that the test is said to provoke must be among it."""
    taken = Looks()
    failed = request.session.testsfailed
    yield taken
    if request.session.testsfailed == failed:
        for mark in request.node.iter_markers("provokes"):
            taken.prove(mark.args, **mark.kwargs)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "chaos: long; runs only where -m names it")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("chaos") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_CHAOS_SECONDS))
    if any(argument == "-m" or argument.startswith("-m") for argument in config.invocation_params.args):
        return
    chaos = [item for item in items if item.get_closest_marker("chaos")]
    if chaos:
        config.hook.pytest_deselected(items=chaos)
        items[:] = [item for item in items if item not in chaos]


@pytest.fixture
def tell_lines(record_property: Callable[[str, object], None]) -> TellLines:
    began = time.monotonic()
    return lambda count: record_property("lines", f"cut off at {count} lines in {time.monotonic() - began:.0f} s")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the long tests did, each in a line."""
    for report in terminalreporter.getreports("passed"):
        for name, value in getattr(report, "user_properties", ()):
            if name == "lines" and report.when == "call":
                terminalreporter.write_line(f"{report.nodeid}: {value}")
