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
    + r"""script=pgtandem/push-wal compression=${3-none} level=${4-1}
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
find_program() { # sets program: what WAL that is stored as it is goes through on its way, where both ends have one
    program= there= theirs=
    [ "$compression" = none ] || return 0
    { read -r there && read -r theirs; } 2>/dev/null <"$ahead/programs"
    if [ "$there" != "$host" ]; then
        theirs=$(find_folder; cd "$home" && exec ssh -F ssh_config -- "$host" programs)
        [ $? != 255 ] || return
        case $theirs in *"$mark"*) ;; *) return 0 ;; esac # one that an older pgtandem has made
        set -- ${theirs#*"$mark"}
        theirs=$*
        [ ! -d "$ahead" ] || printf '%s\n' "$host" "$theirs" >"$ahead/programs"
    fi
    for each in lz4 zstd; do
        case " $theirs " in *" $each "*) command -v "$each" >/dev/null && program=$each && break ;; esac
    done
    return 0
}
pack_as() { # the file $1, which is the WAL file $2, as it is to be stored and sent, in out; its line beside it
    stored=$2 packed=
    case $2.$compression in
    *.history.* | *.backup.*) cp "$1" "$out/$stored" ;;
    *.zstd) stored=$2.zst && zstd -q --single-thread "-$level" -o "$out/$stored" "$1" ;;
    *.lz4) stored=$2.lz4 && lz4 -q "-$level" "$1" "$out/$stored" ;;
    *)
        # Without a checksum of its own: the one in the line is of what is in it.
        case $program in
        lz4) lz4 -q -1 -B4 --no-frame-crc "$1" "$out/$stored" ;;
        zstd) zstd -q --single-thread -1 --no-check -o "$out/$stored" "$1" ;;
        *) cp "$1" "$out/$stored" ;;
        esac || return
        if [ -n "$program" ]; then
            packed=$(($(wc -c <"$out/$stored")))
            set -- $(cksum <"$1") || return
            echo "file $stored $2 $1 $packed $program" >"$out/$stored.line"
            return
        fi ;;
    esac || return
    set -- $(cksum <"$out/$stored") || return
    echo "file $stored $2 $1" >"$out/$stored.line"
}
pack() { for each; do pack_as "pg_wal/$each" "$each" || return; done; }
send_packed() { # what pack has left in out
    for each in "$out"/*.line; do cat "$each" "${each%.line}" || return; done
    echo commit
}
send() { # these files of pg_wal, as they are
    sums=$(cd pg_wal && exec cksum -- "$@") || return
    while read -r sum bytes stored; do
        echo "file $stored $bytes $sum"
        cat "pg_wal/$stored" || return
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
    if ! find_program; then
        :
    elif [ "$compression$program.$path" != "none.pg_wal/$name" ] && mkdir -p "$out" && pack_as "$path" "$name"; then
        send_packed | (connect) | receive && exit 0
    elif [ "$path" = "pg_wal/$name" ]; then
        # As it is, too, where the disk with the WAL has no room to compress it.
        send "$name" | (connect) | receive && exit 0
    fi
    say "could not put $name into the archive on $host"
    exit 1
}
sent() { # the batch before is sent
    [ -n "$sending" ] || return 0
    wait "$sending"
    set -- $?
    sending=
    return "$1"
}
produce() { # while one batch is sent the next one is compressed
    ready= given= sending= number=0 all=$out size=4
    while :; do
        if [ -z "$ready" ]; then
            # What was sent and is not durable yet still waits, and must not be sent twice.
            sent || return
            for each in $given; do
                while waits "$each"; do
                    still_mine && echo || return
                    sleep 0.02 || sleep 1
                done
            done
            given=
        fi
        next_batch "$size" || break
        given="$given$batch" size=8
        if [ "$compression$program" = none ]; then
            send $batch || return
        else
            number=$((number + 1)) out=$all/$number
            rm -rf "$all/$((number - 2))"
            mkdir -p "$out" && share pack $batch && sent || return
            send_packed &
            sending=$!
        fi
    done
    sent
}
work() {
    find_program && produce | (connect) | receive
}
"""
    + ANSWER
)
