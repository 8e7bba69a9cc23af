"""The program that fetches WAL, called by restore_command: ahead, verified, from a folder or from other hosts.

The server asks for one segment after the other and waits for each. One fetch in the background brings them ahead of
that, over one connection, and expands and checks them, so that the server's call mostly renames a file that waits.
Why it is as it is: docs/decisions/0011-wal-over-ssh.md and 0025.
"""

from pgtandem.postgres.wal_own import OWN
from pgtandem.postgres.wal_receive import RECEIVE
from pgtandem.postgres.wal_shell import COPY, EXPAND, FIND, IS_SEGMENT, SSH_FOLDER
from pgtandem.postgres.wal_tail import TAIL

FETCH_SCRIPT = "pgtandem/fetch-wal"
RESTORE_SCRIPT = "pgtandem/restore-wal"

#: Where segments that were fetched ahead wait. The content of pg_wal is in no base backup, and a rename within it
#: works even where pg_wal is on a file system of its own.
SPOOL = "pg_wal/pgtandem"

FETCH_TEXT = (
    r"""#!/bin/sh
# fetch-wal NAME PATH [ARCHIVE]: fetches one WAL file from ARCHIVE/<system identifier>, if one is given, and from other
# hosts over SSH; and the next segments ahead. Made by pgtandem. What is damaged in the archive is never used.
# Answers 0 when it is at PATH and 1 when nobody has it. Where that is not sure (somebody could not be asked, a program
# was killed, the disk is full): 1 on a standby, which will ask again; 255 in every other recovery, which would take 1
# for the end of the WAL, and ends with an error instead.
#
# Sources are hosts of pgtandem/wal-hosts, and "." for the archive here. In the spool: NAME a file that came whole;
# NAME.wanted somebody is fetching it now; per kind (segment, other) token, pid and errors of the fetch in the
# background, and asking, the host that it waits for; data.TOKEN what comes in; outcome.TOKEN how that fetch ended;
# resting.HOST when a host last failed, or was silent; way.HOST where WAL had better be compressed on its way.
set -u
LC_ALL=C
export LC_ALL
unset CDPATH
umask 077
name=$1 path=$2 archive=${3-} spool=pg_wal/pgtandem ahead=134217728
take() { [ -f "$spool/$name" ] && mv -f "$spool/$name" "$path"; }
take_over_own() { # the same, unless a copy of the server's own is to stay
    [ -f "$spool/$name" ] || return
    ! stays "$spool/$name" || exit 1
    take
}

# After a crash of the machine a file in the spool could be hollow: what an earlier server fetched is not used. What is
# there for this one is taken before anything else is looked at: replay waits for every call.
run=none was=
{ read -r pid && read -r _ && read -r begun && run="$pid $begun"; } 2>/dev/null <postmaster.pid
{ IFS= read -r was; } 2>/dev/null <"$spool/run"
if [ "$run" != none ] && [ "$was" = "$run" ] && [ ! -e "pg_wal/$name" ]; then take && exit 0; fi

# To the end of the file: a shell carries nothing of this out before it has read all of it. What a full disk has cut off
# answers 2 and does nothing.
{
any=[0-9A-F]??????????????????????? # as a pattern: a segment
"""
    + IS_SEGMENT.lstrip()
    + SSH_FOLDER
    + EXPAND
    + FIND
    + COPY
    + RECEIVE
    + OWN
    + TAIL
    + r"""
say() { echo "${0##*/}: $1" >&2; }
is_standby() {
    [ -f standby.signal ] || grep -Eisq "^ *standby_mode *=? *'?(on|true|yes|1)" recovery.conf
}
# A promotion takes the signal file away and asks for history files still: it has what it needs.
if ! is_standby && { [ -f recovery.signal ] || [ -f recovery.conf ]; }; then patient=yes; else patient=no; fi
own= # a folder that goes with this call
ending() { # whatever ends this shell, 1 says only that nobody has the file
    set -- $?
    [ -z "$own" ] || { wait; rm -rf "$own"; }
    [ "$1" = 0 ] || [ "$patient" = no ] || exit 255
}
missing() { # nobody has it, and that is sure
    patient=no
    exit 1
}
trap ending EXIT
launch() {
    [ ! -f pgtandem/wal-hosts ] || find_folder
    token=$$.$attempt
    # What is there belongs to another part of the WAL, or the server would have taken it.
    if [ "$kind" = other ]; then set --; else set -- "$spool"/$any "$spool"/$any.wanted; fi
    rm -f "$spool"/outcome.* "$@"
    : >"$spool/$name.wanted"
    echo "$token" >"$spool/token.$kind"
    # By exec: a shell keeps copies of what it redirects for a function, and the server's log would stay open with them.
    (exec </dev/null >/dev/null 2>"$spool/errors.$kind" && fetch) &
    echo $! >"$spool/pid.$kind"
}
is_over() { # whether the fetch that this call waits for has ended. Its own is over when that one says so: an earlier
    # one may still be tidying up, and take away the sign that the file is wanted. Sets outcome: of our own.
    outcome=
    if [ "$joined" = yes ]; then [ ! -e "$spool/$name.wanted" ]; return; fi
    { read -r outcome; } 2>/dev/null <"$spool/outcome.$token"
}
await() { # 0: taken; 1: the fetch is over; 2: a standby has better things to do than to wait for a host that is silent
    polls=0 before=
    until is_over; do
        take_over_own && return 0
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
        if [ "$patient" = no ] && [ "$size" = "$before" ]; then
            # Nor does it wait for that host at its next questions: a promotion has several.
            silent=
            { read -r silent; } 2>/dev/null <"$spool/asking.$kind"
            [ -z "$silent" ] || date +%s >"$spool/resting.$silent"
            return 2
        fi
        before=$size
    done
    take_over_own
}
list= folder= place=
if [ -f pgtandem/wal-hosts ]; then
    { read -r place && list=$(tr '\n' ' '); } <pgtandem/wal-hosts || exit 1
fi
if [ -n "$archive" ]; then
    read -r system <pgtandem/system_identifier || { say "no system identifier"; exit 1; }
    folder=$archive/$system list=". $list"
fi
if is_segment "$name"; then kind=segment count=9999; else kind=other count=1; fi
# The usual answer at the end of the archive, at once.
case $list in
'') missing ;;
'. ')
    if [ -x "$folder" ] && ! find_wal "$name" && [ ! -f "$spool/$name" ] && [ -x "$folder" ]; then
        take_tail
        missing
    fi ;;
esac
mark=$(printf '\036pgtandem-wal')
# A history file that came by streaming is the same everywhere; the server takes it where it is.
case $name in *.history) [ ! -f "pg_wal/$name" ] || missing ;; esac

if [ "$run" = none ]; then
    # No server: pg_rewind asks, or a person. Nothing comes ahead, and nothing changes or stays behind their back.
    spool=$spool.$$ count=1
    mkdir "$spool" || exit 1
    own=$spool
    trap 'exit 1' HUP INT TERM
elif [ "$was" != "$run" ]; then
    rm -rf "$spool"
    mkdir -p "$spool" && echo "$run" >"$spool/run" || exit 1
fi
take_over_own && exit 0

# Who had the last one is asked first.
last=
{ read -r last; } 2>/dev/null <"$spool/source"
case " $list" in *" $last "*)
    others=
    for host in $list; do [ "$host" = "$last" ] || others="$others$host "; done
    list="$last $others" ;;
esac

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
    if [ "$outcome" = absent ]; then
        take_tail
        missing
    fi
    attempt=$((attempt + 1))
    if [ "$patient" = no ] || [ "$attempt" -ge 5 ]; then break; fi
    sleep 1
done
[ "$patient" = no ] && [ ! -s "$spool/errors.$kind" ] && exit 1
case $outcome in
'failed .') failed="from the archive $folder" ;;
failed*) failed="from ${outcome#failed }" ;;
*) failed="as its fetch was cut off" ;;
esac
say "could not get $name $failed: $(tail -n 2 "$spool/errors.$kind" | tr '\n' ' ')"
exit 1
}
"""
)

#: The same program: where it is called by this name, it is given the archive's folder.
RESTORE_TEXT = FETCH_TEXT


def surely(command: str) -> str:
    """The same for a recovery that ends where there is no more WAL, of a server that is made for it.

    PostgreSQL takes every code up to 125, and 0 without a file, for "not there", and that for the end of the WAL. A
    shell answers 2 where the script is missing or cut off, and 0 where it is empty: only 1 is the script's own word.
    """
    return f'{command}; case $? in 0) [ -f "%p" ] || exit 255 ;; 1) exit 1 ;; *) exit 255 ;; esac'
