"""What happened, why, what to do next, and a stable code.

Every failure that a user can meet is a `PgtandemError` with a code of the table `CODES`; the code's family gives the
exit code of the command. Nothing else of the package is imported here.
"""

from pgtandem.errors.codes import CODES, Code, Family
from pgtandem.errors.error import PgtandemError, Problem, is_full

__all__ = ["CODES", "Code", "Family", "PgtandemError", "Problem", "is_full"]
