"""The programs that a server itself runs to archive and to fetch WAL in a folder that it can reach.

They live in the data directory and run there, as the server's account, with the server's own environment; so nothing
of pgtandem, not even Python, has to be reachable for a server. The archive holds one folder per system identifier,
so that two clusters can never mix; what lies in it says docs/decisions/0024.
"""

import shlex
from collections.abc import Sequence

from pgtandem.postgres.wal_ahead import ANSWER, BEGIN, FAST, WORKER
from pgtandem.postgres.wal_fetch import RESTORE_SCRIPT
from pgtandem.postgres.wal_shell import IS_WAL_FILE, STORE, THERE

ARCHIVE_SCRIPT = "pgtandem/archive-wal"
SYSTEM_FILE = "pgtandem/system_identifier"

ARCHIVE_TEXT = (
    r"""#!/bin/sh
# archive-wal PATH NAME ARCHIVE [COMPRESSION LEVEL]: puts one WAL file into ARCHIVE/<system identifier>. Made by
# pgtandem. Answers 0 only when the file is there, whole and durable. The same content again is fine; other content
# under the same name is an error and stays untouched. What else is ready goes along, ahead of the calls for it.
"""
    + BEGIN
    + r"""script=pgtandem/archive-wal archive=$3 to=$3 compression=${4-none} level=${5-1}
"""
    + FAST
    + r"""
shift 2
say() { echo "archive-wal: $1" >&2; }
read -r system <pgtandem/system_identifier || { say "no system identifier"; exit 1; }
folder=$archive/$system
[ -d "$folder" ] || { say "the archive $folder is not there"; exit 1; }
incoming=$folder/.incoming mine=$folder/.incoming/${run:-once}
trap 'rm -rf "$mine".*.$$' EXIT
trap 'exit 1' HUP INT TERM
"""
    + IS_WAL_FILE
    + THERE
    + STORE
    + WORKER
    + r"""
copy_as() { # copies the file $1, which is the WAL file $2, to parts as it is to be stored, under the name stored
    stored=$2
    case $2.$compression in
    *.history.* | *.backup.*) cp "$1" "$parts/$2" ;;
    *.zstd) stored=$2.zst && zstd -q --single-thread "-$level" -o "$parts/$stored" "$1" ;;
    *.lz4) stored=$2.lz4 && lz4 -q "-$level" "$1" "$parts/$stored" ;;
    *) cp "$1" "$parts/$2" ;;
    esac
}
copy_few() { # the same for these files of pg_wal; adds their names to copied
    if [ "$compression" = none ]; then
        (cd pg_wal && exec cp "$@" "$parts/") || return
        copied="$copied $*"
        return
    fi
    for each; do
        copy_as "pg_wal/$each" "$each" || return
        copied="$copied $stored"
    done
}
copy() { # these files of pg_wal, durable in parts and summed up in sums_file: some are written out while others come
    all= pending=
    while [ $# -gt 0 ]; do
        copied=
        copy_few "$1" ${2-} ${3-} ${4-} || return
        (cd "$parts" && exec sync $copied) &
        pending="$pending $!" all="$all$copied"
        if [ $# -gt 4 ]; then shift 4; else shift $#; fi
    done
    (cd "$parts" && exec cksum -- $all) >>"$sums_file" || return
    for each in $pending; do wait "$each" || return; done
}
use() { # what the $1st batch is copied to, a file to compare with, and one with the lines of cksum
    parts=$mine.$1.$$ other=$mine.$1-other.$$ sums_file=$mine.$1-sums.$$
}
make_parts() { # an empty folder of our own; what killed ones have left goes
    for at in "$incoming"/*; do
        case ${at##*/} in
        "$run".*) kill -0 "${at##*.}" 2>/dev/null || rm -rf "$at" ;;
        *) [ ! -e "$at" ] || find "$at" -prune -mmin +1440 -exec rm -rf {} + ;;
        esac
    done
    mkdir -p "$parts"
}
single() {
    use 0
    if there "$name"; then
        again "$path" && exit 0
        exit 1
    fi
    make_parts && copy_as "$path" "$name" && harden && settle && exit 0
    exit 1
}
finish() { # the batch before gets its names, and is answered for
    [ -n "$under_way" ] || return 0
    if [ -n "$copying" ]; then
        wait "$copying" || return
        use "$((number - 1))"
        # The server's call may have been faster: a file that does not wait any more may be another one already.
        for each in $copied_new; do waits "$each" || return; done
        sums=$(cat "$sums_file") && settle || return
        rm -rf "$parts" "$sums_file"
    fi
    for each in $under_way; do mark "$each"; done
    under_way=
}
work() { # while one batch becomes durable and gets its names the next one is copied
    number=0 under_way=
    while choose_size 16 && next_batch "$size"; do
        new= fine= job= number=$((number + 1))
        use "$number"
        for each in $batch; do
            # What the call for it has to tell about ends the work; what comes before it goes on.
            if there "$each"; then again "pg_wal/$each" || break; else new="$new $each"; fi
            fine="$fine $each"
        done
        if [ -n "$new" ]; then
            make_parts || return
            share copy $new &
            job=$!
        fi
        finish || return
        under_way=$fine copied_new=$new copying=$job
        [ "$fine" = "$batch" ] || break
    done
    number=$((number + 1))
    finish
}
"""
    + ANSWER
)


def _escape_percent(text: str) -> str:
    """A percent sign must be doubled in archive_command and restore_command (manual, 20.5.3)."""
    return text.replace("%", "%%")


def archive_command(directory: str, form: Sequence[str] = ()) -> str:
    """`form` is the compression and its level, where there is one.

    The server has a shell for the command anyway, and that one reads the script: a second one took 2 ms of processor
    time for each segment. Where the script is missing the shell ends with an exit code that the server counts.
    """
    return " ".join(('set -- "%p" "%f"', _escape_percent(shlex.quote(directory)), *form, f"&& . {ARCHIVE_SCRIPT}"))


def restore_command(directory: str) -> str:
    return f'sh {RESTORE_SCRIPT} "%f" "%p" {_escape_percent(shlex.quote(directory))}'
