"""What archive-wal and push-wal have in common: a backlog is archived ahead of the server's own calls.

The server calls archive_command for one file after the other and waits for each. Where several are ready, one worker
in the background takes them in batches, and leaves a file of the same name in `AHEAD/RUN` for each that is durable in
the archive, with the archive's place in it; the call for it then only sees that. Everything else is done by the call
itself, and so every failure is a failure of archive_command: a worker that fails ends, and the call that waited for it
tries once more and says why not. docs/decisions/0025.

A script sets `to`, where the archive is, between `BEGIN` and `FAST`. It defines `say`, `single` (archives the one file
that it was called for, and tells why not) and `work` (archives what is ready, batch by batch, by `next_batch`, and
`mark`s it), and ends with `ANSWER`.
"""

#: Below the data directory. RUN is the postmaster's process and start: what is known to be durable ends with the run,
#: so that neither a copy of the data directory nor a machine that crashed takes it over.
AHEAD = "pg_wal/pgtandem_archived"

#: With FAST the whole way of a call for what is archived already: words that the shell itself reads, no other process.
BEGIN = rf"""set -u
LC_ALL=C
export LC_ALL
unset CDPATH # cd would go elsewhere with it
umask 077
path=$1 name=$2 run=
{{ read -r pid && read -r _ && read -r begun && run=$pid.$begun; }} 2>/dev/null <postmaster.pid
ahead={AHEAD}/$run
"""

FAST = r"""marked() { # whether $1 is known to be durable where the archive is now, which may have moved since
    where=
    [ -n "$run" ] && [ -e "$ahead/$1" ] && { IFS= read -r where; } 2>/dev/null <"$ahead/$1"
    [ -n "$where" ] && [ "$where" = "$to" ]
}
told() { # what is noted is told once: should the server ever ask again, the file itself is looked at
    marked "$name" && : >"$ahead/$name"
}
told && exit 0
"""

WORKER = r"""
still_mine() { # whether the server is the one that it was, and no other worker has begun since
    now= worker=
    { read -r pid && read -r _ && read -r begun && now=$pid.$begun; } 2>/dev/null <postmaster.pid
    { read -r worker; } 2>/dev/null <"$ahead/worker"
    [ "$now" = "$run" ] && [ "$worker" = $$ ]
}
waits() { [ -e "pg_wal/archive_status/$1.ready" ] && ! marked "$1"; }
is_new() { # not what the server was told: should it ask again, the call for it looks, and nothing is noted once more
    [ ! -e "$ahead/$1" ] || { [ -s "$ahead/$1" ] && ! marked "$1"; }
}
find_ready() { # sets ready: the first that wait, in the server's order; forgets what the server was told
    ready= gone= count=0 cut=
    for at in pg_wal/archive_status/*.ready; do
        at=${at##*/} at=${at%.ready}
        is_new "$at" && is_wal_file "$at" && [ -f "pg_wal/$at" ] || continue
        ready="$ready $at" count=$((count + 1))
        [ "$count" -lt 128 ] || { cut=1; break; }
    done
    for at in "$ahead"/[0-9A-F]*; do
        [ -e "pg_wal/archive_status/${at##*/}.ready" ] || [ ! -e "$at" ] || gone="$gone $at"
    done
    [ -z "$gone" ] || rm -f $gone
}
next_batch() { # sets batch: up to $1 files that wait and are not under way; fails when there are none: the work is done
    batch= left=$1
    still_mine || return
    [ -n "${ready-}" ] || find_ready
    set -- $ready
    while [ $# -gt 0 ] && [ "$left" -gt 0 ]; do
        case "${under_way-} " in
        *" $1 "*) ;;
        *) ! waits "$1" || batch="$batch $1" left=$((left - 1)) ;;
        esac
        shift
    done
    ready=$*
    [ -n "$batch" ]
}
most=1
cut=
choose_size() { # sets size, up to $1: the first and the last batch are small, for nothing else is done meanwhile
    most=$((most * 2))
    [ "$most" -gt 0 ] || most=1
    [ "$most" -le "$1" ] || most=$1
    size=$most
    set -- ${ready-}
    [ -n "$cut" ] || [ $# -le 2 ] || [ $# -ge $((2 * most)) ] || size=$((($# + 1) / 2))
}
mark() { printf '%s\n' "$to" >"$ahead/$1"; }
share() { # does "$1 FILES" for these files, in as many processes as there are processors, up to 4
    doing=$1 failed=0 turn=0 pids= one= two= three= four=
    shift
    for at; do
        case $turn in 0) one="$one $at" ;; 1) two="$two $at" ;; 2) three="$three $at" ;; *) four="$four $at" ;; esac
        turn=$(((turn + 1) % processors))
    done
    for at in "$one" "$two" "$three" "$four"; do
        [ -n "$at" ] || continue
        "$doing" $at &
        pids="$pids $!"
    done
    for at in $pids; do wait "$at" || failed=1; done
    return "$failed"
}
begin_work() {
    echo $$ >"$ahead/worker" || exit 1
    processors=$(nproc 2>/dev/null) && [ "$processors" -gt 2 ] || processors=2
    [ "$processors" -le 4 ] || processors=4
    work
    exit
}
"""

#: What follows PATH and NAME is in `"$@"`; the name "work" makes it the worker.
ANSWER = r"""
several() { # whether more than one file is ready
    set -- pg_wal/archive_status/*.ready
    [ $# -gt 1 ]
}
alive() { # whether the worker lives; it may be dead and not reaped, and another process may have got its number since
    worker=
    { read -r worker; } 2>/dev/null <"$ahead/worker"
    [ -n "$worker" ] && kill -0 "$worker" 2>/dev/null || return
    [ ! -r "/proc/$worker/cmdline" ] || grep -q pgtandem/ "/proc/$worker/cmdline" 2>/dev/null
}
await() { # until it is archived, or nobody works on it any more
    polls=0 pause=0.01
    while kill -0 "$worker" 2>/dev/null; do
        ! told || exit 0
        sleep $pause || sleep 1
        polls=$((polls + 1))
        [ "$polls" -lt 10 ] || pause=0.04
        [ $((polls % 25)) != 0 ] || alive || break
    done
    ! told || exit 0
}
is_own() { # whether the archive's folder is that of this server's data, and not of what had these files before it
    own= system=
    { read -r system; } 2>/dev/null <pgtandem/system_identifier
    own=$(od -An -tu8 -N 8 global/pg_control 2>/dev/null)
    [ -z "$own" ] || [ "${own##* }" = "$system" ] && return
    say "the data here is of system identifier ${own##* }, and the archive is that of $system: pgtandem plan tells more"
    return 1
}
if [ -n "$run" ]; then
    if [ ! -d "$ahead" ]; then
        is_own || exit 1
        # Where the disk with the WAL is full there is no worker, and the call does its file: that is what makes room.
        rm -rf "${ahead%/*}"
        mkdir -p "$ahead"
    fi
    if [ "$name" = work ]; then begin_work; fi
    if alive; then
        await
    elif [ -d "$ahead" ] && several; then
        sh "$script" - work "$@" </dev/null >/dev/null 2>"$ahead/errors" &
        worker=$!
        echo "$worker" >"$ahead/worker"
        await
    fi
fi
single
"""
