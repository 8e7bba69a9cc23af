"""Sizes and durations as people read them, and what they are to copy."""

#: Begins a command that a sentence ends with: it is shown on a line of its own, and never broken.
TO_COPY = "\n    "


def size_in_words(count: int) -> str:
    """Bytes with a unit that fits: 512 B, 16.0 MB, 1.2 GB (powers of 1000)."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def duration_in_words(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days" if seconds < 730 * 86400 else f"{seconds / (365.25 * 86400):.0f} years"
