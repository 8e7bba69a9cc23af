"""The one exception of the package, and the problem that several of which can be reported at once."""

from dataclasses import dataclass

from pgtandem.errors.codes import CODES, Code

_AFTER_ROOM = "make room on that disk, then run the same command again"


def is_full(why: str) -> bool:
    """Whether somebody says that a disk, or what an account may have of it, has no room."""
    return "No space left" in why or "Disk quota exceeded" in why


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong and that a user can mend.

    `where` names the place ("nodes.db2.port", a node, or ""), `what` is one line in lower case, `why` a sentence or
    "", `next_step` a command or a TOML line or "".
    """

    where: str
    what: str
    why: str = ""
    next_step: str = ""


class PgtandemError(Exception):
    """A failure with its words: what (one line, lower case), why (a sentence), next (a command when there is one).

    `problems` lists several findings of one failure, each with its own words; where one finding is all, it is the error
    itself, and `where` names its place. A full disk can stop whatever writes, so its next step is known here, unless
    who raises it knows a better one. Raises KeyError for a code that is not in the table: a defect that the tests
    find.
    """

    def __init__(
        self,
        code: str,
        what: str,
        *,
        why: str = "",
        next_step: str = "",
        where: str = "",
        problems: tuple[Problem, ...] = (),
    ) -> None:
        super().__init__(what)
        self.code: Code = CODES[code]
        self.what = what
        self.why = why
        self.next_step = next_step or (_AFTER_ROOM if is_full(why) else "")
        self.where = where
        self.problems = problems

    @property
    def concerned(self) -> frozenset[str]:
        """The places that it is about, as far as it names them."""
        return frozenset(place for place in (self.where, *(problem.where for problem in self.problems)) if place)

    def __str__(self) -> str:
        return f"{self.what} [{self.code.text}]"
