"""What apply tells while it works. A view (the terminal, a log, a test) implements it; the engine only speaks."""

from typing import Protocol

from pgtandem.errors import PgtandemError
from pgtandem.model.plan import Plan, Step


class Report(Protocol):
    """Told in the order of events; several steps may be under way at once."""

    def round_started(self, plan: Plan, number: int) -> None: ...

    def step_started(self, step: Step) -> None: ...

    def step_progress(self, step: Step, done_bytes: int, total_bytes: int) -> None: ...

    def step_done(self, step: Step, seconds: float, remark: str) -> None: ...

    def step_failed(self, step: Step, error: PgtandemError) -> None: ...


class Silent:
    """Tells nobody."""

    def round_started(self, plan: Plan, number: int) -> None: ...

    def step_started(self, step: Step) -> None: ...

    def step_progress(self, step: Step, done_bytes: int, total_bytes: int) -> None: ...

    def step_done(self, step: Step, seconds: float, remark: str) -> None: ...

    def step_failed(self, step: Step, error: PgtandemError) -> None: ...
