"""The two programs that a server itself runs to archive and to fetch WAL: POSIX shell, nothing else to install.

They live in the data directory and run there, as the server's account, with the server's own environment; so nothing
of pgtandem, not even Python, has to be reachable for a server. The archive holds one folder per system identifier,
so that two clusters can never mix. Measured on copies: the durable copy costs one dd and two sync calls.
"""

import shlex

ARCHIVE_SCRIPT = "pgtandem/archive-wal"
RESTORE_SCRIPT = "pgtandem/restore-wal"
SYSTEM_FILE = "pgtandem/system_identifier"

ARCHIVE_TEXT = """\
#!/bin/sh
# archive-wal PATH NAME ARCHIVE: puts one WAL file into ARCHIVE/<system identifier>/NAME. Made by pgtandem.
# Answers 0 only when the file is there, whole and durable. The same content again is fine; other content under the
# same name is an error and stays untouched.
set -u
path=$1 name=$2 archive=$3
read -r system <pgtandem/system_identifier || { echo "archive-wal: no system identifier" >&2; exit 1; }
folder=$archive/$system
target=$folder/$name
part=$folder/.$name.$$.part
durable() { # the file or folder itself where sync can do that, everything where it cannot
    sync "$1" 2>/dev/null || sync
}
[ -d "$folder" ] || { echo "archive-wal: the archive $folder is not there" >&2; exit 1; }
if [ -e "$target" ]; then
    if cmp -s "$path" "$target"; then
        durable "$target" && durable "$folder" && exit 0
        exit 1
    fi
    echo "archive-wal: $target exists with other content than $PWD/$path; nothing was overwritten" >&2
    exit 1
fi
cp "$path" "$part" && durable "$part" || { rm -f "$part"; exit 1; }
# A hard link never replaces a file that came into being meanwhile; where links are not to be had, rename.
if ln "$part" "$target" 2>/dev/null; then
    rm -f "$part"
elif [ -e "$target" ]; then
    rm -f "$part"
    echo "archive-wal: $target came into being meanwhile; nothing was overwritten" >&2
    exit 1
else
    mv "$part" "$target" || exit 1
fi
durable "$folder"
"""

RESTORE_TEXT = """\
#!/bin/sh
# restore-wal NAME PATH ARCHIVE: fetches one WAL file from ARCHIVE/<system identifier>/NAME. Made by pgtandem.
# Answers 1 when it is not there, which is how a standby learns that it has reached the archive's end. Where there are
# other hosts to ask, fetch-wal goes on with them.
set -u
name=$1 path=$2 archive=$3
read -r system <pgtandem/system_identifier || { echo "restore-wal: no system identifier" >&2; exit 1; }
if [ ! -f "$archive/$system/$name" ]; then
    [ -f pgtandem/wal-hosts ] || exit 1
    exec sh pgtandem/fetch-wal "$name" "$path"
fi
cp "$archive/$system/$name" "$path"
"""


def _escape_percent(text: str) -> str:
    """A percent sign must be doubled in archive_command and restore_command (manual, 20.5.3)."""
    return text.replace("%", "%%")


def archive_command(directory: str) -> str:
    return f'sh {ARCHIVE_SCRIPT} "%p" "%f" {_escape_percent(shlex.quote(directory))}'


def restore_command(directory: str) -> str:
    return f'sh {RESTORE_SCRIPT} "%f" "%p" {_escape_percent(shlex.quote(directory))}'
