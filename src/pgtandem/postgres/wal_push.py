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
quickly=
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
pack() { # the WAL files that stand in out by links, as they are to be stored and sent; beside each body a line
    (
        cd "$out" || exit
        small= large=
        for each; do
            case $each in *.history | *.backup) small="$small $each" ;; *) large="$large $each" ;; esac
        done
        [ "$compression$program" != none ] || small="$small$large" large=
        [ -z "$large" ] || pack_large $large || exit
        [ -z "$small" ] || describe $small
    )
}
pack_large() { # the same for these, one after the other in one process
    case $compression.$program in
    zstd.*) end=.zst && zstd -qf --single-thread $quickly "-$level" "$@" ;;
    lz4.*) end=.lz4 && lz4 -q "-$level" -m "$@" ;;
    # Without a checksum of its own: the one in the line is of what is in it.
    none.zstd) end=.zst && zstd -qf --single-thread $quickly -1 --no-check "$@" ;;
    none.lz4) end=.lz4 && lz4 -q -1 -B4 --no-frame-crc -m "$@" ;;
    *) return 1 ;;
    esac || return
    packed=
    for each; do packed="$packed $each$end"; done
    if [ "$compression" != none ]; then
        describe $packed
        return
    fi
    sums=$(cksum -- "$@") && set -- $(wc -c $packed) && [ $# -gt 1 ] || return
    while read -r sum bytes stored; do
        [ "$stored$end" = "$2" ] && echo "file $stored $bytes $sum $1 $program" >"$2.line" || return
        shift 2
    done <<END
$sums
END
}
describe() { # a line beside each of these files, which are sent as they are
    sums=$(cksum -- "$@") || return
    while read -r sum bytes stored; do
        echo "file $stored $bytes $sum" >"$stored.line" || return
    done <<END
$sums
END
}
link() { # the files of pg_wal in out, which is made
    mkdir -p "$out" || return
    for each; do
        shift
        set -- "$@" "$PWD/pg_wal/$each"
    done
    ln -s "$@" "$out/"
}
send_packed() { # what pack has left in out
    set --
    for each in "$out"/*.line; do set -- "$@" "$each" "${each%.line}"; done
    cat "$@" && echo commit
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
    case $path in /*) from=$path ;; *) from=$PWD/$path ;; esac
    if ! find_program; then
        :
    elif [ "$compression$program.$path" != "none.pg_wal/$name" ] &&
        mkdir -p "$out" && ln -s "$from" "$out/$name" && pack "$name"; then
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
    hurry
    return "$1"
}
hurry() { # over a slow line what follows goes in batches of about 20 s: so long nothing is told to be durable, and so
    # much is sent once more when the connection is cut
    took=$(($(date +%s) - began))
    [ "$took" -le 20 ] || most=$((files * 10 / took)) # half of that: choose_size doubles it
}
produce() { # while one batch is sent the next one is compressed
    ready= under_way= sending= number=0 all=$out
    while :; do
        choose_size 12
        if ! next_batch "$size"; then
            # What was sent and is not durable yet still waits, and must not be sent twice.
            sent || return
            now_given=
            for each in $under_way; do
                ! waits "$each" || now_given="$now_given $each"
            done
            under_way=$now_given
            [ -n "$under_way" ] || return 0
            still_mine && echo || return
            sleep 0.02 || sleep 1
            continue
        fi
        under_way="$under_way$batch" number=$((number + 1)) out=$all/$number
        link $batch && share pack $batch && sent || return
        rm -rf "$all/$((number - 1))" &
        set -- $batch
        files=$# began=$(date +%s)
        send_packed &
        sending=$!
    done
}
work() {
    find_program || return
    case $compression.$program in
    *zstd*) # its threads that only read and write cost more than they help
        zstd -q --no-asyncio -1 -c </dev/null >/dev/null 2>&1 && quickly=--no-asyncio ;;
    esac
    produce | (connect) | receive
}
"""
    + ANSWER
)
