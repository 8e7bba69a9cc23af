"""Every file of an archive read and compared with its checksum, on the host where it lies."""

import asyncio
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence

from pgtandem.model.archive_report import Damage
from pgtandem.ports import Host, HostFailure
from pgtandem.postgres.archive_content import CHECKSUMS, parse_checksums, wal_name
from pgtandem.postgres.stream_scripts import STREAMED

#: How many files one program reads: few enough that progress shows.
_AT_ONCE = 64
_SECONDS = 3600.0

#: Prints the line of cksum for each name that it reads.
_SUMS = """
cd "$1" && while read -r name; do
    cksum -- "$name" || if [ -r "$name" ]; then echo "- - $name"; else echo "- $(id -un) $name"; fi
done
"""
#: Prints each name whose content does not expand.
_EXPAND = """
cd "$1" && while read -r name; do
    case $name in *.zst) zstd -tq -- "$name" ;; *) lz4 -tq -- "$name" ;; esac || echo "$name"
done
"""


#: FOLDER: prints the whole segments that are archived and streamed with different content.
_TWICE = """
cd "$1/streamed" 2>/dev/null || exit 0
for name in [0-9A-F]*; do
    case $name in *.partial | *.history | '[0-9A-F]*') continue ;; esac
    if [ -e "../$name" ]; then cmp -s "$name" "../$name" || echo "$name"
    elif [ -e "../$name.zst" ]; then zstd -dcq "../$name.zst" | cmp -s - "$name" || echo "$name"
    elif [ -e "../$name.lz4" ]; then lz4 -dcq "../$name.lz4" | cmp -s - "$name" || echo "$name"
    fi
done
"""


async def check_streamed(host: Host, folder: str) -> list[Damage]:
    """The segments that came both ways and differ. Raises as `check_files` does."""
    done = await host.run(["sh", "-c", _TWICE, "sh", folder], deadline_seconds=_SECONDS)
    left = await host.list_directory(posixpath.join(folder, STREAMED)) or ()
    # One that was removed meanwhile is the same, or it would have stayed.
    differing = [name for name in done.text.split() if name in left]
    return [Damage(f"{name} has other content than {STREAMED}/{name}", host.name) for name in differing]


async def check_files(
    host: Host, folder: str, stored: Sequence[str], tell: Callable[[int], None]
) -> tuple[list[Damage], list[str]]:
    """What is damaged, and the files that have no checksum. A compressed file without one is expanded instead.

    `tell` gets how many files were read. Raises HostFailure, HostUnreachable and CommandTimeout.
    """
    recorded = await _recorded(host, folder)
    damages: list[Damage] = []
    unknown: list[str] = []
    for names in _parts(stored):
        found = await _run(host, folder, _SUMS, names)
        for line in found.splitlines():
            total, size, name = line.split(" ", 2)
            if total == "-":
                whom = "" if size == "-" else f" by {size}: look at its owner and mode"
                damages.append(Damage(f"{name} cannot be read{whom}", host.name, name))
            elif name not in recorded:
                unknown.append(name)
            elif (int(total), int(size)) not in recorded[name]:
                whole = any(int(size) == expected for _, expected in recorded[name])
                what = "has not the content that was archived" if whole else "is not as long as it was archived"
                damages.append(Damage(f"{name} {what}", host.name, name))
        tell(len(names))
    packed = [name for name in unknown if (wal := wal_name(name)) and wal[0] != name]
    for names in _parts(packed):
        bad = (await _run(host, folder, _EXPAND, names)).splitlines()
        damages += [Damage(f"{name} is damaged: it does not expand", host.name, name) for name in bad]
    return damages, [name for name in unknown if name not in packed]


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[at : at + _AT_ONCE] for at in range(0, len(names), _AT_ONCE))


async def _recorded(host: Host, folder: str) -> Mapping[str, frozenset[tuple[int, int]]]:
    checksums = posixpath.join(folder, CHECKSUMS)
    groups = await host.list_directory(checksums) or ()
    texts = await asyncio.gather(*(host.read_file(posixpath.join(checksums, group)) for group in groups))
    return parse_checksums("\n".join((text or b"").decode(errors="replace") for text in texts))


async def _run(host: Host, folder: str, script: str, names: Sequence[str]) -> str:
    text = "".join(f"{name}\n" for name in names).encode()
    done = await host.run(["sh", "-c", script, "sh", folder], stdin=text, deadline_seconds=_SECONDS)
    if done.exit_code and not done.stdout:
        raise HostFailure(host.name, f"could not read the files in {folder}", done.complaint)
    return done.text
