"""Real clusters, driven through the installed program.

The long chaos tests run only when asked for: `pytest tests/integration -m chaos`, or `-m ""` for everything.
"""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "chaos: long; runs only where -m names it")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if any(argument == "-m" or argument.startswith("-m") for argument in config.invocation_params.args):
        return
    chaos = [item for item in items if item.get_closest_marker("chaos")]
    if chaos:
        config.hook.pytest_deselected(items=chaos)
        items[:] = [item for item in items if item not in chaos]
