"""Paths as methods get them: checked, and in words."""


def shown(path: str) -> str:
    """A path as a message can name it: in one line, whatever is in it."""
    return path if path.isprintable() else repr(path)


def absolute(path: str) -> str:
    """The path without slashes at its end, which would make a link be followed. Raises ValueError."""
    if not path.startswith("/"):
        raise ValueError(f"{path!r} is not an absolute path")
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
