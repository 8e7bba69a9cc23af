"""What all tests share."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# How long one example takes tells how busy the machine is.
settings.register_profile("pgtandem", deadline=None)
settings.load_profile("pgtandem")

# Tests start the program thousands of times: what is compiled once is to be kept, whatever the caller's shell says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Contract tests live in modules that pytest does not collect: without this their asserts would say nothing.
pytest.register_assert_rewrite(
    "ports.clock_contract",
    "ports.console_contract",
    "ports.database_contract",
    "ports.host_contract",
    "ports.host_files_contract",
    "ports.workspace_contract",
)


@pytest.fixture
def open_tmp_path() -> Iterator[Path]:
    """A temporary folder that every account may enter, unlike pytest's own, which is below a private one."""
    path = Path(tempfile.mkdtemp(prefix="pgtandem-test-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
