"""The program that puts WAL into the archive on another host, called by archive_command."""

from pgtandem.postgres.wal_ahead import ANSWER, BEGIN, FAST, WORKER
from pgtandem.postgres.wal_shell import IS_WAL_FILE, SSH_FOLDER

PUSH_SCRIPT = "pgtandem/push-wal"

PUSH_TEXT = (
    r"""#!/bin/sh
# push-wal PATH NAME [COMPRESSION LEVEL]: puts one WAL file into the archive on another host, the first of
# pgtandem/wal-hosts. Made by pgtandem. Answers 0 only when that host has said that the file is there, whole and
# durable. What else is ready goes along, over the same connection, ahead of the calls for it.
"""
    + BEGIN
    + r"""compression=${3-none} level=${4-1}
{ read -r place && read -r host; } <pgtandem/wal-hosts || exit 1
to=ssh:$host
"""
    + FAST
    + r"""shift 2
say() { echo "push-wal: $1" >&2; }
out=$ahead/out.$$ mark=$(printf '\036pgtandem-wal')
trap 'rm -rf "$out"' EXIT
trap 'exit 1' HUP INT TERM
"""
    + IS_WAL_FILE
    + SSH_FOLDER
    + WORKER
    + r"""
connect() { find_folder; cd "$home" && exec ssh -F ssh_config -- "$host" store; }
pack_as() { # the file $1, which is the WAL file $2, in the form in which it is to be stored, in out
    case $2.$compression in
    *.history.* | *.backup.*) cp "$1" "$out/$2" ;;
    *.zstd) zstd -q "-$level" -o "$out/$2.zst" "$1" ;;
    *.lz4) lz4 -q "-$level" "$1" "$out/$2.lz4" ;;
    *) cp "$1" "$out/$2" ;;
    esac
}
pack() { for each; do pack_as "pg_wal/$each" "$each" || return; done; }
send() { # these files of folder $1
    in=$1
    shift
    sums=$(cd "$in" && exec cksum -- "$@") || return
    while read -r sum bytes stored; do
        echo "file $stored $bytes $sum"
        cat "$in/$stored" || return
    done <<END
$sums
END
    echo commit
}
receive() { # marks what the host says is durable; tells in $1 whether NAME was among it
    line= told=1
    while IFS= read -r line && [ "$line" != "$mark" ]; do :; done
    [ "$line" = "$mark" ] || return
    while read -r word what stored; do
        case $word.$what in
        "$mark.stored")
            stored=${stored%.zst} stored=${stored%.lz4}
            [ "$stored" != "$name" ] || told=0
            [ "$name" != work ] || mark "$stored" ;;
        missing.) say "the archive's folder is not there on $host" ;;
        esac
    done
    return "$told"
}
single() {
    rm -rf "$out"
    if [ "$compression.$path" != "none.pg_wal/$name" ] && mkdir -p "$out" && pack_as "$path" "$name"; then
        (cd "$out" && send . *) | (connect) | receive && exit 0
    elif [ "$path" = "pg_wal/$name" ]; then
        # As it is, too, where the disk with the WAL has no room to compress it.
        send pg_wal "$name" | (connect) | receive && exit 0
    fi
    say "could not put $name into the archive on $host"
    exit 1
}
produce() {
    ready= sent=
    while :; do
        if [ -z "$ready" ]; then
            # What was sent and is not durable yet still waits, and must not be sent twice.
            for each in $sent; do
                while waits "$each"; do
                    still_mine && echo || return
                    sleep 0.02 || sleep 1
                done
            done
            sent=
        fi
        next_batch 8 || return 0
        sent="$sent$batch"
        if [ "$compression" = none ]; then
            send pg_wal $batch || return
        else
            rm -rf "$out"
            mkdir "$out" && share pack $batch && (cd "$out" && send . *) || return
        fi
    done
}
work() { produce | (connect) | receive; }
"""
    + ANSWER
)
