"""Texts that a server shows in its own spelling (manual, 20.11.2): DateStyle and time zones."""

import re

#: What is shown may be another text than what was written.
RESPELLED = frozenset({"datestyle", "timezone", "log_timezone", "timezone_abbreviations"})

#: Words of DateStyle that mean an order; each may be cut short after these letters.
_ORDERS = {"euro": "dmy", "dmy": "dmy", "noneuro": "mdy", "us": "mdy", "mdy": "mdy", "ymd": "ymd"}


def same_text(name: str, shown: str, written: str) -> bool:
    """Whether what pg_settings shows for a setting of texts is what was written: blanks and capitals do not count."""
    if name == "datestyle":
        return _date_words(written) <= _date_words(shown)
    return _loose(shown) == _loose(written)


def is_respelled(name: str, written: str) -> bool:
    """Whether nothing can be told from what the server shows: a time zone as an offset, DateStyle by `default`."""
    if name in ("timezone", "log_timezone"):
        return bool(re.match(r"\s*([-+.\d]|interval\b)", written, re.IGNORECASE))
    return name == "datestyle" and "default" in _loose(written)


def _date_words(text: str) -> set[str]:
    """Style and order, as far as they are given; German is day first where nothing else is said."""
    words: set[str] = set()
    for word in text.casefold().replace(",", " ").split():
        order = next((meant for begin, meant in _ORDERS.items() if word.startswith(begin)), None)
        words.add(order or ("postgres" if word.startswith("postgres") else word))
    if words == {"german"}:
        words.add("dmy")
    return words


def _loose(text: str) -> str:
    return "".join(text.split()).casefold()
