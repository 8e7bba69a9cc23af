"""synchronous_standby_names (manual, 20.6.2)."""

from collections.abc import Sequence


def render_sync_names(method: str, count: int, names: Sequence[str]) -> str:
    """ "ANY 1 ("db2", "db3")"; the empty text where nobody has to confirm or nobody could.

    Names are always quoted, so that a dash or a capital letter in one cannot make it match nothing.
    """
    if method == "none" or not names:
        return ""
    quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
    return f"{method.upper()} {count} ({quoted})"
