"""What only a primary that is down has."""

from pgtandem.model.lsn import Lsn
from pgtandem.model.value import dataclass
from pgtandem.model.words import size_in_words


@dataclass(frozen=True, slots=True)
class Beyond:
    """The WAL of a server behind `since`, the furthest that a standby received: how many transactions were committed in
    it, its bytes up to the last of them, and how long it took from the first of those commits to the last one, None
    for fewer than two."""

    since: Lsn
    commits: int
    wal_bytes: int
    seconds: float | None = None

    def __str__(self) -> str:
        if not self.commits:
            return f"no transaction was committed after {self.since}"
        many = "1 transaction was" if self.commits == 1 else f"{self.commits} transactions were"
        within = "" if self.seconds is None else f", within {self.seconds:.1f} s"
        return f"{many} committed after {self.since}, about {size_in_words(self.wal_bytes)} of WAL{within}"
