"""The systemd unit of the archive's receiver: it starts with its host, and again when it ends, as long as it is wanted.

A unit of the system, as whoever owns the archive: it stands where root alone can write, and runs a program that this
account could run anyway.
"""

import posixpath

from pgtandem.postgres.stream_scripts import RECEIVER, RUN, STAY, WANTED

UNITS = "/etc/systemd/system"

_MARK = "# Made by pgtandem, which keeps it as it is: WAL of a cluster, streamed to its archive in "
_TEXT = """{mark}{directory}
[Unit]
Description=WAL of the PostgreSQL cluster {cluster}, streamed to its archive
Wants=network-online.target
After=network-online.target remote-fs.target
RequiresMountsFor={mounts}
ConditionPathExists={wanted}
StartLimitIntervalSec=0

[Service]
User={account}
UMask=0077
ExecStart=/bin/sh {run} {stay}
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
"""

#: UNIT FILE: what systemd says of a unit, whether this login may change units, and the unit's own text. Nothing where
#: systemd does not run the host.
LOOK_AT_UNIT = """
[ -d /run/systemd/system ] || exit 0
systemctl show -p ActiveState -p UnitFileState "$1" || exit
if [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; then echo allowed; fi
echo text
[ ! -f "$2" ] || cat "$2"
"""

#: As root, or by sudo that was seen to ask for no password.
_AS_ROOT = 'if [ "$(id -u)" = 0 ]; then sudo=; else sudo="sudo -n"; fi\n'

#: UNIT FILE TEXT: systemd knows the unit and starts it with the host.
MAKE_UNIT = (
    _AS_ROOT
    + """
printf %s "$3" | $sudo sh -c 'umask 022 && cat >"$1.new" && sync "$1.new" && mv "$1.new" "$1"' sh "$2" &&
    $sudo systemctl daemon-reload && $sudo systemctl enable "$1"
"""
)

#: UNIT FILE: systemd forgets it.
REMOVE_UNIT = (
    _AS_ROOT
    + """
$sudo systemctl disable --now "$1"
$sudo rm -f "$2" && $sudo systemctl daemon-reload
"""
)

START_UNIT = _AS_ROOT + 'exec $sudo systemctl start "$1"'


def unit_name(cluster: str) -> str:
    return f"pgtandem-archive-{cluster}.service"


def unit_path(cluster: str) -> str:
    return posixpath.join(UNITS, unit_name(cluster))


def render_unit(cluster: str, directory: str, folder: str, account: str) -> str:
    """For the cluster's `folder` in the archive's directory."""
    receiver = posixpath.join(folder, RECEIVER)
    return _TEXT.format(
        mark=_MARK,
        directory=directory,
        cluster=cluster,
        mounts=_quoted(folder),
        wanted=_plain(posixpath.join(receiver, WANTED)),
        account=account,
        run=_run(folder),
        stay=STAY,
    )


def is_of(text: str, directory: str, folder: str) -> bool:
    """Whether pgtandem made this unit, for an archive in this directory, and there for the cluster's `folder`, "" while
    that is not known: another cluster of the same name may have its own in the same archive."""
    runs = f"ExecStart=/bin/sh {_run(folder)} " if folder else ""
    return text.partition("\n")[0] == f"{_MARK}{directory}" and runs in text


def _run(folder: str) -> str:
    return _quoted(posixpath.join(folder, RECEIVER, RUN)).replace("$", "$$")


def _plain(path: str) -> str:
    return path.replace("%", "%%")


def _quoted(path: str) -> str:
    """systemd.syntax(7), systemd.unit(5): specifiers and quotes."""
    return '"' + _plain(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
