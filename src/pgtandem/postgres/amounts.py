"""A number of pg_settings, which has no unit, as somebody would write it in a configuration file."""

from pgtandem.postgres.settings import SettingSpec

_BYTES = {"B": 1, "kB": 1024, "8kB": 8192, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
_MILLISECONDS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


def spelled(spec: SettingSpec, shown: str) -> str:
    """ "128MB" for the 16384 of shared_buffers; every other text as it is."""
    sizes = _BYTES if spec.unit in _BYTES else _MILLISECONDS
    if spec.unit not in sizes or not shown.isdigit() or shown == "0":
        return shown
    amount = int(shown) * sizes[spec.unit]
    for unit, size in sorted(sizes.items(), key=lambda pair: -pair[1]):
        if unit != "8kB" and amount % size == 0:
            return f"{amount // size}{unit}"
    return shown
