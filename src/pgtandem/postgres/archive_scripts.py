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
    + r"""archive=$3 to=$3 compression=${4-none} level=${5-1}
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
copy_as() { # copies the file $1, which is the WAL file $2, to parts, in the form in which it is to be stored
    case $2 in
    *.history | *.backup) cp "$1" "$parts/$2" ;;
    *)
        case $compression in
        zstd) zstd -q --single-thread "-$level" -o "$parts/$2.zst" "$1" ;;
        lz4) lz4 -q "-$level" "$1" "$parts/$2.lz4" ;;
        *) cp "$1" "$parts/$2" ;;
        esac ;;
    esac
}
copy() { # the same for these files of pg_wal
    plain=
    for each; do
        case $each.$compression in
        *.history.* | *.backup.* | *.none) plain="$plain $each" ;;
        *) copy_as "pg_wal/$each" "$each" || return ;;
        esac
    done
    [ -z "$plain" ] || (cd pg_wal && exec cp $plain "$parts/")
}
use() { # what the $1st batch is copied to, and a file to compare with
    parts=$mine.$1.$$ other=$mine.$1-other.$$
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
finish() { # what was copied becomes durable under its names, and is answered for
    if [ -n "$new" ]; then
        harden || return
        # The server's call may have been faster: a file that does not wait any more may be another one already.
        for each in $new; do waits "$each" || return; done
        settle || return
        # What a killed worker has left others may remove: then nothing can be said about it.
        kill -0 $$ 2>/dev/null || return
        rm -rf "$parts"
    fi
    for each in $fine; do mark "$each"; done
}
finished() { # the batch before has come to its end
    [ -n "$finishing" ] || return 0
    wait "$finishing"
    set -- $?
    finishing=
    return "$1"
}
work() { # while one batch is made durable the next one is copied
    number=0 finishing=
    while next_batch 16; do
        new= fine= number=$((number + 1))
        use "$number"
        for each in $batch; do
            # What the call for it has to tell about ends the work; what comes before it goes on.
            if there "$each"; then again "pg_wal/$each" || break; else new="$new $each"; fi
            fine="$fine $each"
        done
        if [ -n "$new" ]; then make_parts && share copy $new || return; fi
        finished || return
        finish &
        finishing=$!
        [ "$fine" = "$batch" ] || break
        # Who asks anew what waits must not be told what is under way.
        [ -n "$ready" ] || finished || return
    done
    finished
}
"""
    + ANSWER
)


def _escape_percent(text: str) -> str:
    """A percent sign must be doubled in archive_command and restore_command (manual, 20.5.3)."""
    return text.replace("%", "%%")


def archive_command(directory: str, form: Sequence[str] = ()) -> str:
    """`form` is the compression and its level, where there is one."""
    return " ".join((f'sh {ARCHIVE_SCRIPT} "%p" "%f" {_escape_percent(shlex.quote(directory))}', *form))


def restore_command(directory: str) -> str:
    return f'sh {RESTORE_SCRIPT} "%f" "%p" {_escape_percent(shlex.quote(directory))}'
