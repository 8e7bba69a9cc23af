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
# Servers in containers may have the same process number and start, and so may what they call.
token=
{ read -r token; } 2>/dev/null </proc/sys/kernel/random/uuid
incoming=$folder/.incoming mine=$folder/.incoming/${run:-once}.${token:-0}
trap 'rm -rf "$mine".*.$$' EXIT
trap 'exit 1' HUP INT TERM
"""
    + IS_WAL_FILE
    + THERE
    + STORE
    + WORKER
    + r"""
name_as() { # sets stored: the name under which the WAL file $1 is stored
    stored=$1
    case $1.$compression in
    *.history.* | *.backup.*) ;;
    *.zstd) stored=$1.zst ;;
    *.lz4) stored=$1.lz4 ;;
    esac
}
copy_as() { # copies the file $1, which is the WAL file $2, to parts as it is to be stored
    name_as "$2"
    case $stored in
    *.zst) zstd -q --single-thread "-$level" -o "$parts/$stored" "$1" ;;
    *.lz4) lz4 -q "-$level" "$1" "$parts/$stored" ;;
    *) cp "$1" "$parts/$stored" ;;
    esac
}
copy() { # these files of pg_wal, to parts
    if [ "$compression" = none ]; then
        cd pg_wal && exec cp "$@" "$parts/"
        exit
    fi
    for each; do copy_as "pg_wal/$each" "$each" || return; done
}
write_out() { # begins to make these files durable in parts and to sum them up; sets jobs: whom to wait for
    all= jobs=
    while [ $# -gt 0 ]; do
        few=
        for each in "$1" ${2-} ${3-} ${4-}; do name_as "$each" && few="$few $stored"; done
        (cd "$parts" && exec sync $few) &
        jobs="$jobs $!" all=$all$few
        if [ $# -gt 4 ]; then shift 4; else shift $#; fi
    done
    (cd "$parts" && exec cksum -- $all) >"$sums_file" &
    jobs="$jobs $!"
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
    # Another process may have had our number in this run.
    [ ! -e "$parts" ] || rm -rf "$parts"
    # Never the archive's own folder: its disk may have gone since we looked.
    [ -d "$incoming" ] || mkdir "$incoming" || [ -d "$incoming" ] || return
    mkdir "$parts"
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
durable() { # waits until the $1st batch is durable and summed up
    eval "jobs=\${jobs_$1-} jobs_$1="
    for each in $jobs; do wait "$each" || broken=${broken:-$1}; done
    whole "$1"
}
whole() { # whether neither the $1st batch nor one before it is broken
    [ -z "$broken" ] || [ "$1" -lt "$broken" ]
}
give_names() { # to the $1st batch, which was copied and handed on, and answers for it
    eval "[ -z \"\${copying_$1-}\" ]" && durable "$1" || return
    eval "files=\${files_$1-} new=\${new_$1-}"
    if [ -n "$new" ]; then
        use "$1"
        # The server's call may have been faster: a file that does not wait any more may be another one already.
        for each in $new; do waits "$each" || return; done
        sums=$(cat "$sums_file") && settle || return
    fi
    for each in $files; do mark "$each"; done
    unset "files_$1" "new_$1" "jobs_$1" "copying_$1"
    [ -z "$new" ] || rm -rf "$parts" "$sums_file"
}
finish() { # what is broken gets no names, nor what comes behind it
    give_names "$1" || broken=${broken:-$1}
    whole "$1"
}
hand_on() { # the $1st batch, once it is copied, begins to be written out
    eval "copying=\${copying_$1-} copying_$1="
    [ -n "$copying" ] || return 0
    wait "$copying" || broken=${broken:-$1}
    # The older one first: written out together, both would be done at the same time, and the disk at rest then.
    durable $(($1 - 2)) && whole "$1" || return
    use "$1"
    eval "write_out \$new_$1"
    eval "jobs_$1=\$jobs"
}
more() { # sets batch: the next files, which are not under way
    under_way=
    for each in 0 1 2 3; do eval "under_way=\$under_way\${files_$((number - each))-}"; done
    choose_size 12 && next_batch "$size"
}
in_turn() { # one batch is copied, the two before are written out, and the one before those gets its names
    while more; do
        files= new=
        for each in $batch; do
            # What the call for it has to tell about ends the work; what comes before it goes on.
            if there "$each"; then again "pg_wal/$each" || break; else new="$new $each"; fi
            files="$files $each"
        done
        number=$((number + 1))
        if [ -n "$new" ]; then
            use "$number"
            make_parts || return
            share copy $new &
            eval "copying_$number=$!"
        fi
        eval "files_$number=\$files new_$number=\$new"
        finish $((number - 3 - later)) && hand_on $((number - later)) || return
        eval "[ \"\$files_$number\" = \"\$batch\" ]" || break
    done
    hand_on "$number"
}
work() {
    number=5 broken= later=0
    # Where copying takes processors, none of them waits at the end of a batch for the others.
    [ "$compression" = none ] || later=1
    in_turn
    for each in 4 3 2 1 0; do finish $((number - each)); done
    # What was begun writes into folders that go now.
    for each in 1 0; do
        eval "copying=\${copying_$((number - each))-}"
        [ -z "$copying" ] || wait "$copying"
    done
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
    time for each segment. Where the script is missing the shell ends with an exit code that the server counts; and one
    that is empty or cut off, which does not come to an end of its own, must not be taken for success.
    """
    words = ('set -- "%p" "%f"', _escape_percent(shlex.quote(directory)), *form, f"&& . {ARCHIVE_SCRIPT}; exit 1")
    return " ".join(words)


def restore_command(directory: str) -> str:
    return f'sh {RESTORE_SCRIPT} "%f" "%p" {_escape_percent(shlex.quote(directory))}'
