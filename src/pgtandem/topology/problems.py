"""The problems found so far: where they are, in the order of the file, and what was probably meant."""

import difflib
from collections.abc import Iterable, Mapping

from pgtandem.errors import PgtandemError, Problem
from pgtandem.topology.toml import on_one_line, quote_key

#: The keys that lead to a value of the file: ("nodes", "db2", "port").
Path = tuple[str, ...]

_DEPTH = 4


class Problems:
    """Collects what is wrong with one file.

    `has` tells whether a place was reported already: what was read from there is then only a stand-in, and no
    other check may judge it.
    """

    def __init__(self, document: Mapping[str, object]) -> None:
        self._order: dict[Path, int] = {}
        self._found: list[tuple[Path, Problem]] = []
        self._doubted: set[Path] = set()
        self._number((), document)

    def _number(self, path: Path, value: object) -> None:
        self._order[path] = len(self._order)
        if isinstance(value, Mapping) and len(path) < _DEPTH:
            for key, inner in value.items():
                self._number((*path, key), inner)

    def add(self, path: Path, what: str, why: str = "", next_step: str = "") -> None:
        where = ".".join(quote_key(key) for key in path)
        self._doubted.add(path)
        self._found.append((path, Problem(where, *map(on_one_line, (what, why, next_step)))))

    def doubt(self, path: Path) -> None:
        """Marks a place as not to be judged: its key is there, misspelt, and that was reported."""
        self._doubted.add(path)

    def has(self, *path: str) -> bool:
        """Whether this very place was reported or marked."""
        return path in self._doubted

    def _position(self, path: Path) -> int:
        """Where the path stands in the file; for a key that is missing, where its table stands."""
        while path not in self._order:
            path = path[:-1]
        return self._order[path]

    def raise_if_any(self, source: str) -> None:
        """Raises PgtandemError PT-1004 with all problems in the order of the file."""
        if not self._found:
            return
        found = sorted(self._found, key=lambda entry: self._position(entry[0]))
        many = "1 problem" if len(found) == 1 else f"{len(found)} problems"
        raise PgtandemError("PT-1004", f"{source} has {many}", problems=tuple(problem for _, problem in found))


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that was probably meant by a misspelt word."""
    return next(iter(difflib.get_close_matches(word.lower(), sorted(candidates), n=1, cutoff=0.6)), None)


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """The hint, "" where nothing is near."""
    near = nearest(word, candidates)
    return f'did you mean "{near}"?' if near else ""


def listed(words: Iterable[str], last: str = "and") -> str:
    """Words as a list in a sentence: "a, b and c"."""
    *most, end = words
    return f"{', '.join(most)} {last} {end}" if most else end
