"""The clock of this machine."""

import asyncio

import pytest

from pgtandem.adapters.clock import SystemClock

from .clock_contract import ClockContract, Run


class TestSystemClock(ClockContract):
    @pytest.fixture
    def clock(self) -> SystemClock:
        return SystemClock()

    @pytest.fixture
    def run(self) -> Run:
        return lambda coroutine: asyncio.run(coroutine)
