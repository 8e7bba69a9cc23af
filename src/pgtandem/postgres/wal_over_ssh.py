"""The programs that carry WAL between hosts over SSH: POSIX shell and OpenSSH, nothing else to install.

`SERVE_TEXT` is the forced command of a key on the host that has WAL: it gives out WAL files of one folder and, with the
right to, takes them in; it never sees a path. `FETCH_TEXT` and `PUSH_TEXT` lie in the data directory and are called by
restore_command and archive_command; `HOSTS_FILE` beside them says with which key, and whom to ask.

What goes over a connection: after whatever the login shell prints comes the line `MARK`. "get NAME COUNT" is answered
by up to COUNT times "NAME BYTES NEXT", a line break and the bytes, NEXT being the segment that follows; then "end", or
"absent" where not even the first is there, or "missing" where the archive's folder is not. "put NAME BYTES" reads the
bytes and answers "stored NAME". "hello" is answered by the rights, or "missing".

Why the fetching side is as it is: docs/decisions/0011-wal-over-ssh.md.
"""

from collections.abc import Sequence

FETCH_SCRIPT = "pgtandem/fetch-wal"
PUSH_SCRIPT = "pgtandem/push-wal"

#: First line: CLUSTER/NODE, which leads to the folder with the key and ssh's configuration, below the account's home.
#: Then one host per line, by its name in that configuration.
HOSTS_FILE = "pgtandem/wal-hosts"

FETCH_COMMAND = f'sh {FETCH_SCRIPT} "%f" "%p"'
PUSH_COMMAND = f'sh {PUSH_SCRIPT} "%p" "%f"'

#: Where segments that were fetched ahead wait. The content of pg_wal is in no base backup, and a rename within it
#: works even where pg_wal is on a file system of its own.
SPOOL = "pg_wal/pgtandem"

MARK = "\036pgtandem-wal"


def render_hosts(place: str, hosts: Sequence[str]) -> str:
    """`place` is CLUSTER/NODE."""
    return "".join(f"{line}\n" for line in (place, *hosts))


# As ssh does it: HOME may be missing or another one in a server's environment.
_FOLDER = r"""
find_folder() { # sets folder: where ssh works
    user=$(id -un)
    case $user in '' | *[!A-Za-z0-9_.-]*) folder=${HOME-} ;; *) eval "folder=~$user" ;; esac
    folder=$folder/.ssh/pgtandem/$place
}
"""

_NAMES = r"""
is_segment() {
    case $1 in
    *[!0-9A-F]*) return 1 ;;
    ????????????????????????) return 0 ;;
    esac
    return 1
}
"""

SERVE_TEXT = (
    r"""#!/bin/sh
# serve-wal FOLDER [put]: what one key of sshd's authorized_keys may do here. Made by pgtandem.
# Reads nothing but SSH_ORIGINAL_COMMAND: "get NAME [COUNT]" gives out WAL files of FOLDER, "put NAME BYTES" adds one,
# "hello" tells what is allowed. NAME is the name of a WAL file, never a path.
set -uf
PATH=/usr/local/bin:/usr/bin:/bin LC_ALL=C
export PATH LC_ALL
umask 077
folder=$1 rights=${2-}
refuse() {
    echo "serve-wal: $1" >&2
    exit 1
}
durable() { # the file or folder itself where sync can do that, everything where it cannot
    sync "$1" 2>/dev/null || sync
}
"""
    + _NAMES.lstrip()
    + r"""is_wal_file() {
    is_segment "$1" && return
    case $1 in
    *.partial) is_segment "${1%.partial}" ;;
    *.history)
        set -- "${1%.history}"
        case $1 in *[!0-9A-F]*) return 1 ;; ????????) return 0 ;; esac
        return 1 ;;
    *.backup)
        set -- "${1%.backup}"
        case $1 in ????????????????????????.????????) ;; *) return 1 ;; esac
        is_segment "${1%.????????}" || return 1
        case ${1#????????????????????????.} in *[!0-9A-F]*) return 1 ;; esac ;;
    *) return 1 ;;
    esac
}
is_number() { # from 1 to $2 digits
    case $1 in '' | 0* | *[!0-9]*) return 1 ;; esac
    [ "${#1}" -le "$2" ]
}
following() { # sets next: the segment after $1, whose size is $2 bytes
    next=-
    is_segment "$1" && [ "$2" -ge 1048576 ] && [ "$2" -le 1073741824 ] || return 0
    per=$((4294967296 / $2)) rest=${1#????????}
    at=$((0x${rest%????????} * per + 0x${rest#????????} + 1))
    next=$(printf '%.8s%08X%08X' "$1" $((at / per)) $((at % per)))
}
answer() {
    printf '\n\036pgtandem-wal\n'
    [ -d "$folder" ] && return
    echo missing
    exit 1
}
get() {
    answer
    [ -f "$folder/$1" ] || { echo absent; exit 0; }
    name=$1 left=$2
    while [ "$left" -gt 0 ] && [ -f "$folder/$name" ]; do
        size=$(($(wc -c <"$folder/$name"))) || exit 1
        following "$name" "$size"
        echo "$name $size $next"
        cat "$folder/$name" || exit 1
        name=$next left=$((left - 1))
    done
    echo end
}
put() { # as archive-wal does: whole, durable, and never over another content
    target=$folder/$1 part=$folder/.$1.$$.part
    answer
    trap 'rm -f "$part"' EXIT
    trap 'exit 1' HUP INT TERM
    dd bs=1048576 count=$(($2 / 1048576 + 1)) iflag=fullblock of="$part" 2>/dev/null || refuse "could not write $1"
    [ $(($(wc -c <"$part"))) = "$2" ] || refuse "$1 did not come whole"
    if [ ! -e "$target" ]; then
        durable "$part" || refuse "could not sync $1"
        # A hard link never replaces a file that came into being meanwhile; where links are not to be had, rename.
        ln "$part" "$target" 2>/dev/null || [ -e "$target" ] || mv "$part" "$target" || refuse "could not name $1"
    fi
    if [ -e "$part" ] && [ ! "$part" -ef "$target" ]; then
        cmp -s "$part" "$target" || refuse "$1 exists with other content; nothing was overwritten"
        durable "$target" || refuse "could not sync $1"
    fi
    durable "$folder" || refuse "could not sync the archive"
    printf '\036pgtandem-wal stored %s\n' "$1"
}
set -- ${SSH_ORIGINAL_COMMAND-}
case "$#.${1-}" in
1.hello)
    answer
    echo "get $rights" ;;
2.get | 3.get)
    is_wal_file "$2" && is_number "${3-1}" 4 || refuse "refused"
    get "$2" "${3-1}" ;;
3.put)
    [ "$rights" = put ] && is_wal_file "$2" && is_number "$3" 10 && [ "$3" -le 1073741824 ] || refuse "refused"
    put "$2" "$3" ;;
*) refuse "refused" ;;
esac
"""
)

PUSH_TEXT = (
    r"""#!/bin/sh
# push-wal PATH NAME: puts one WAL file into the archive on another host, the first of pgtandem/wal-hosts. Made by
# pgtandem. Answers 0 only when that host has said that the file is there, whole and durable.
set -u
path=$1 name=$2
"""
    + _FOLDER.lstrip()
    + r"""{ read -r place && read -r host; } <pgtandem/wal-hosts || exit 1
find_folder
bytes=$(($(wc -c <"$path"))) || exit 1
answer=$( (cd "$folder" && exec ssh -F ssh_config -- "$host" "put $name $bytes") <"$path")
case $answer in
*"$(printf '\036pgtandem-wal stored %s' "$name")") exit 0 ;;
*"$(printf '\036pgtandem-wal\nmissing')") echo "push-wal: the archive's folder is not there on $host" >&2 ;;
*) echo "push-wal: could not put $name into the archive on $host" >&2 ;;
esac
exit 1
"""
)

FETCH_TEXT = (
    r"""#!/bin/sh
# fetch-wal NAME PATH: fetches one WAL file from other hosts over SSH, and the next segments ahead. Made by pgtandem.
# Answers 0 when it is at PATH and 1 when nobody has it. Where somebody could not be asked: 1 on a standby, which will
# ask again; 255 in every other recovery, which would take 1 for the end of the WAL, and ends with an error instead.
#
# In the spool: NAME a file that came whole; NAME.wanted somebody is fetching it now; per kind (segment, other) token,
# pid, errors, failed of the fetch in the background; data.TOKEN what comes in; resting.HOST when a host last failed.
set -u
LC_ALL=C
export LC_ALL
umask 077
name=$1 path=$2 spool=pg_wal/pgtandem ahead=134217728
any=[0-9A-F]??????????????????????? # as a pattern: a segment
"""
    + _NAMES.lstrip()
    + _FOLDER.lstrip()
    + r"""is_standby() {
    [ -f standby.signal ] || grep -Eisq "^ *standby_mode *=? *'?(on|true|yes|1)" recovery.conf
}
take() { [ -f "$spool/$name" ] && mv -f "$spool/$name" "$path"; }
mine() { # whether no other fetch has been begun meanwhile
    now=
    { read -r now; } 2>/dev/null <"$spool/token.$kind"
    [ "$now" = "$token" ]
}
room() { # waits until less than what may be ahead is there; not for ever: the server may have enough
    polls=0
    while mine || return 1; do
        set -- "$1" "$spool"/$any
        [ -e "$2" ] && [ $((($# - 1) * $1)) -ge "$ahead" ] || return 0
        [ "$polls" -lt 400 ] || return 1
        sleep 0.05 || sleep 1
        polls=$((polls + 1))
    done
}
copy() { # $1 bytes, and not one more, for that would be of what follows
    if [ $(($1 % 65536)) = 0 ]; then dd bs=65536 count=$(($1 / 65536)) iflag=fullblock; else head -c "$1"; fi
}
receive() { # 0: the file came, and perhaps others; 1: the host has not got it; 2: it did not answer as it should
    line=
    while IFS= read -r line && [ "$line" != "$mark" ]; do :; done
    [ "$line" = "$mark" ] || return 2
    expected=$name came=2
    while read -r word bytes next; do
        case $word in
        absent) [ "$came" = 0 ] || came=1; break ;;
        "$expected") ;;
        missing) echo "the archive's folder is not there" >&2; break ;;
        *) break ;;
        esac
        case $bytes in '' | 0* | *[!0-9]* | ???????????*) break ;; esac
        room "$bytes" || break
        copy "$bytes" >"$spool/data.$token"
        [ $(($(wc -c <"$spool/data.$token"))) = "$bytes" ] || break
        # What is promised next stands there before this file: who takes this one asks for that at once.
        if is_segment "$next"; then expected=$next; : >"$spool/$next.wanted"; else expected=; fi
        mv -f "$spool/data.$token" "$spool/$word" && came=0
        rm -f "$spool/$word.wanted"
    done
    rm -f "$spool/data.$token"
    [ "$came" != 0 ] || [ -z "$expected" ] || ! mine || rm -f "$spool/$expected.wanted"
    return "$came"
}
fetch() {
    failed=
    for host in $list; do
        if [ "$patient" = no ] && { read -r then; } 2>/dev/null <"$spool/resting.$host" &&
            [ $(($(date +%s) - then)) -lt 15 ]; then
            failed="$failed $host"
            continue
        fi
        (cd "$folder" && exec ssh -F ssh_config -- "$host" "get $name $count") | receive
        case $? in
        0)
            failed=
            echo "$host" >"$spool/source"
            break ;;
        2)
            mine || break
            failed="$failed $host"
            date +%s >"$spool/resting.$host" ;;
        esac
    done
    mine || return
    [ -z "$failed" ] || echo "$failed" >"$spool/failed.$kind"
    rm -f "$spool/$name.wanted"
}
launch() {
    find_folder
    rm -f "$spool/failed.$kind"
    # What is there belongs to another part of the WAL, or the server would have taken it.
    [ "$kind" = other ] || rm -f "$spool"/$any "$spool"/$any.wanted
    : >"$spool/$name.wanted"
    token=$$.$attempt
    echo "$token" >"$spool/token.$kind"
    # By exec: a shell keeps copies of what it redirects for a function, and the server's log would stay open with them.
    (exec </dev/null >/dev/null 2>"$spool/errors.$kind" && fetch) &
    echo $! >"$spool/pid.$kind"
}
await() { # 0: taken; 1: the fetch is over; 2: a standby has better things to do than to wait for a host that is silent
    polls=0 before=
    while [ -e "$spool/$name.wanted" ]; do
        take && return 0
        sleep 0.02 || sleep 1
        polls=$((polls + 1))
        [ $((polls % 50)) = 0 ] || continue
        pid= at=
        { read -r pid; } 2>/dev/null <"$spool/pid.$kind"
        { read -r at; } 2>/dev/null <"$spool/token.$kind"
        if ! kill -0 "$pid" 2>/dev/null || [ -n "$(find "$spool/$name.wanted" -mmin +5 2>/dev/null)" ]; then
            rm -f "$spool/$name.wanted"
            break
        fi
        size=$(wc -c 2>/dev/null <"$spool/data.$at")
        if [ "$patient" = no ] && [ "$size" = "$before" ]; then return 2; fi
        before=$size
    done
    take
}

{ read -r place && list=$(tr '\n' ' '); } 2>/dev/null <pgtandem/wal-hosts || exit 1
[ -n "$list" ] || exit 1
mark=$(printf '\036pgtandem-wal')
if is_segment "$name"; then kind=segment count=9999; else kind=other count=1; fi
# A promotion takes the signal file away and asks for history files still: it has what it needs.
if ! is_standby && { [ -f recovery.signal ] || [ -f recovery.conf ]; }; then patient=yes; else patient=no; fi
# A history file that came by streaming is the same everywhere; the server takes it where it is.
case $name in *.history) [ -f "pg_wal/$name" ] && exit 1 ;; esac

# After a crash of the machine a file in the spool could be hollow: what an earlier server fetched is not used.
run=none was=
{ read -r pid && read -r _ && read -r begun && run="$pid $begun"; } 2>/dev/null <postmaster.pid
{ IFS= read -r was; } 2>/dev/null <"$spool/run"
if [ "$was" != "$run" ]; then
    rm -rf "$spool"
    mkdir -p "$spool" && echo "$run" >"$spool/run" || exit 1
fi
take && exit 0

# Who had the last one is asked first.
last=
{ read -r last; } 2>/dev/null <"$spool/source"
case " $list" in *" $last "*) list="$last $(printf ' %s' "$list" | sed "s/ $last / /")" ;; esac

attempt=0
while :; do
    joined=yes
    if [ ! -e "$spool/$name.wanted" ]; then
        joined=no
        launch
    fi
    await
    case $? in 0) exit 0 ;; 2) exit 1 ;; esac
    [ "$joined" = no ] || continue
    [ -e "$spool/failed.$kind" ] || exit 1
    attempt=$((attempt + 1))
    if [ "$patient" = no ] || [ "$attempt" -ge 5 ]; then break; fi
    sleep 1
done
read -r failed <"$spool/failed.$kind"
[ "$patient" = no ] && [ ! -s "$spool/errors.$kind" ] && exit 1
echo "fetch-wal: could not ask $failed for $name: $(tail -n 2 "$spool/errors.$kind" | tr '\n' ' ')" >&2
if [ "$patient" = no ]; then exit 1; fi
exit 255
"""
)
