"""The program that fetches WAL, called by restore_command: ahead, verified, from a folder or from other hosts.

The server asks for one segment after the other and waits for each. One fetch in the background brings them ahead of
that, over one connection, and expands and checks them, so that the server's call mostly renames a file that waits.
Why it is as it is: docs/decisions/0011-wal-over-ssh.md and 0025.
"""

from pgtandem.postgres.wal_shell import COPY, EXPAND, FIND, IS_SEGMENT, SSH_FOLDER

FETCH_SCRIPT = "pgtandem/fetch-wal"
RESTORE_SCRIPT = "pgtandem/restore-wal"

#: Where segments that were fetched ahead wait. The content of pg_wal is in no base backup, and a rename within it
#: works even where pg_wal is on a file system of its own.
SPOOL = "pg_wal/pgtandem"

FETCH_TEXT = (
    r"""#!/bin/sh
# fetch-wal NAME PATH [ARCHIVE]: fetches one WAL file from ARCHIVE/<system identifier>, if one is given, and from other
# hosts over SSH; and the next segments ahead. Made by pgtandem. What is damaged in the archive is never used.
# Answers 0 when it is at PATH and 1 when nobody has it. Where somebody could not be asked: 1 on a standby, which will
# ask again; 255 in every other recovery, which would take 1 for the end of the WAL, and ends with an error instead.
#
# Sources are hosts of pgtandem/wal-hosts, and "." for the archive here. In the spool: NAME a file that came whole;
# NAME.wanted somebody is fetching it now; per kind (segment, other) token, pid, errors, failed of the fetch in the
# background, and asking, the host that it waits for; data.TOKEN what comes in; resting.HOST when a host last failed,
# or was silent.
set -u
LC_ALL=C
export LC_ALL
umask 077
name=$1 path=$2 archive=${3-} spool=pg_wal/pgtandem ahead=134217728
take() { [ -f "$spool/$name" ] && mv -f "$spool/$name" "$path"; }

# After a crash of the machine a file in the spool could be hollow: what an earlier server fetched is not used. What is
# there for this one is taken before anything else is looked at: replay waits for every call.
run=none was=
{ read -r pid && read -r _ && read -r begun && run="$pid $begun"; } 2>/dev/null <postmaster.pid
{ IFS= read -r was; } 2>/dev/null <"$spool/run"
if [ "$run" != none ] && [ "$was" = "$run" ]; then take && exit 0; fi

any=[0-9A-F]??????????????????????? # as a pattern: a segment
"""
    + IS_SEGMENT.lstrip()
    + SSH_FOLDER
    + EXPAND
    + FIND
    + COPY
    + r"""
say() { echo "${0##*/}: $1" >&2; }
is_standby() {
    [ -f standby.signal ] || grep -Eisq "^ *standby_mode *=? *'?(on|true|yes|1)" recovery.conf
}
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
header() { # sets word, bytes, next, form and sums of the next file that the source has
    if [ "$begun" = yes ]; then
        begun=no # the first line is read already
    elif [ "$host" != . ]; then
        read -r word bytes next form sums
    elif [ ! -x "$folder" ]; then
        word=missing
    elif find_wal "$expected"; then
        from=$target
        describe "$expected" || return
        word=$expected bytes=$size sums=${known:--}
    else
        word=absent
    fi
}
content() { # writes out what the file that the header is of holds
    if [ "$host" = . ]; then expand "$from"; else
        case $form in
        zstd) copy "$bytes" | zstd -dcq ;;
        lz4) copy "$bytes" | lz4 -dcq ;;
        *) copy "$bytes" ;;
        esac
    fi
}
sound() { # whether what came is what was archived
    # The server syncs what it takes, and waits for that: here nobody waits.
    sync "$spool/data.$token" 2>/dev/null &
    set -- $(cksum <"$spool/data.$token")
    wait "$!"
    came_bytes=$2
    if [ "$form" = none ]; then
        [ "$2" = "$bytes" ] || return
        case $sums, in -, | *",$1:$2,"*) ;; *) return 1 ;; esac
    fi
    # Of the compressed forms, expanding has checked the content.
    ! is_segment "$word" || { [ "$2" -ge 1048576 ] && [ $(($2 % 1048576)) = 0 ]; }
}
receive() { # 0: the file came, and perhaps others; 1: it is not there; 2: no answer as it should be; 3: it is damaged
    begun=no
    if [ "$host" != . ]; then
        line= word=
        while IFS= read -r line && [ "$line" != "$mark" ]; do :; done
        [ "$line" = "$mark" ] && read -r word bytes next form sums || return 2
        case $word.$bytes in
        packed.lz4) lz4 -dcq | receive_files; return ;;
        packed.zstd) zstd -dcq | receive_files; return ;;
        esac
        begun=yes
    fi
    receive_files
}
receive_files() {
    expected=$name came=2 came_bytes=
    while header; do
        case $word in
        absent) [ "$came" = 0 ] || came=1; break ;;
        "$expected") ;;
        missing) echo "the archive's folder is not there" >&2; break ;;
        *) break ;;
        esac
        case $bytes in '' | *[!0-9]* | ???????????*) break ;; esac
        room "${came_bytes:-$bytes}" || break
        if ! content >"$spool/data.$token" || ! sound; then
            # A connection that was cut off says nothing about the file.
            if [ "$host" = . ] || IFS= read -r line; then
                echo "$word is damaged in the archive${from:+: $from}" >&2
                [ "$came" = 0 ] || came=3
            fi
            break
        fi
        # What is promised next stands there before this file: who takes this one asks for that at once.
        if is_segment "$next"; then expected=$next; : >"$spool/$next.wanted"; else expected=; fi
        mv -f "$spool/data.$token" "$spool/$word" && came=0
        rm -f "$spool/$word.wanted"
        [ "$count" != 1 ] && [ -n "$expected" ] || break
    done
    rm -f "$spool/data.$token"
    [ "$came" != 0 ] || [ -z "$expected" ] || ! mine || rm -f "$spool/$expected.wanted"
    return "$came"
}
ask() { (cd "$home" && exec ssh -F ssh_config -- "$host" "get $name $count$1"); }
receive_from_host() {
    ask "$packed" | receive
    set -- $?
    # One that an older pgtandem has made does not know what "packed" is.
    if [ "$1.${packed:+x}" = 2.x ] && grep -q "serve-wal: refused" "$spool/errors.$kind"; then
        ask "" | receive
        set -- $?
    fi
    return "$1"
}
fetch() {
    failed= packed=
    if is_segment "$name"; then
        # What this host can expand with; the other end takes one of them where that makes the WAL smaller.
        for program in lz4 zstd; do
            ! command -v "$program" >/dev/null || packed=$packed${packed:+,}$program
        done
        packed=${packed:+ $packed}
    fi
    for host in $list; do
        if [ "$patient" = no ] && { read -r then; } 2>/dev/null <"$spool/resting.$host" &&
            [ $(($(date +%s) - then)) -lt 15 ]; then
            failed="$failed $host"
            continue
        fi
        from=
        if [ "$host" = . ]; then
            receive
        else
            echo "$host" >"$spool/asking.$kind"
            receive_from_host
        fi
        case $? in
        0)
            failed=
            rm -f "$spool/resting.$host"
            echo "$host" >"$spool/source"
            break ;;
        2)
            [ "$host" = . ] || date +%s >"$spool/resting.$host"
            mine || break
            failed="$failed $host" ;;
        3) failed="$failed $host" ;;
        esac
    done
    mine || return
    [ -z "$failed" ] || echo "$failed" >"$spool/failed.$kind"
    rm -f "$spool/$name.wanted"
}
launch() {
    [ ! -f pgtandem/wal-hosts ] || find_folder
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
        if [ "$patient" = no ] && [ "$size" = "$before" ]; then
            # Nor does it wait for that host at its next questions: a promotion has several.
            silent=
            { read -r silent; } 2>/dev/null <"$spool/asking.$kind"
            [ -z "$silent" ] || date +%s >"$spool/resting.$silent"
            return 2
        fi
        before=$size
    done
    take
}
goes_further() { # whether $1, what was streamed of the segment with zeros behind it, has WAL that ours has not
    # Both are the beginning of the same WAL. Ours may have anything behind its end, and may be what a commit waited
    # for: it must never give way to less.
    from=1
    if [ -f "pg_wal/$name" ]; then
        set -- "$1" $(cmp -l "pg_wal/$name" "$1" 2>/dev/null | head -n 1)
        [ -n "${2-}" ] || return
        from=$2
        size=$(($(wc -c <"$1"))) page=$((($2 - 1) / 8192 * 8192 + 8192)) low=${name#????????}
        address=$((0x${low%????????} * 4294967296 + 0x${low#????????} * size + page))
        [ "$page" = "$size" ] ||
            [ "$(($(od -An -tu8 -j $((page + 8)) -N 8 "pg_wal/$name")))" != "$address" ] || return
    fi
    [ "$(tail -c "+$from" "$1" | tr -d '\000' | head -c 1 | wc -c)" -gt 0 ]
}
take_tail() { # what was streamed of a segment that nobody has as a whole: the last WAL that there is. Ends the program
    # where it gives that to the server.
    [ "$kind" = segment ] || return
    if [ -n "$archive" ]; then
        if find_tail "$name" && goes_further "$target"; then
            cp "$target" "$path" && exit 0
            rm -f "$path"
        fi
        return
    fi
    [ "$list" = "archive " ] || return
    # What came before and was of no use, or what is here, need not come again.
    sum=
    { read -r at sum; } 2>/dev/null <"$spool/tail"
    [ "${at-}" = "$name" ] || sum=
    [ -n "$sum" ] || [ ! -f "pg_wal/$name" ] || sum=$(sum_of "pg_wal/$name")
    programs=
    for program in lz4 zstd; do
        ! command -v "$program" >/dev/null || programs=$programs${programs:+,}$program
    done
    find_folder
    (cd "$home" && exec ssh -F ssh_config -- archive "tail $name ${sum:--}${programs:+ $programs}") 2>/dev/null |
        receive_tail && mv -f "$spool/data.tail" "$path" && exit 0
    rm -f "$spool/data.tail"
}
sum_of() {
    set -- $(cksum <"$1")
    echo "$1:$2"
}
receive_tail() {
    line= word=
    while IFS= read -r line && [ "$line" != "$mark" ]; do :; done
    read -r word bytes form && [ "$word" = tail ] || return
    case $form in
    lz4) lz4 -dcq ;;
    zstd) zstd -dcq ;;
    *) cat ;;
    esac >"$spool/data.tail" && [ "$(($(wc -c <"$spool/data.tail")))" = "$bytes" ] || return
    goes_further "$spool/data.tail" && rm -f "$spool/tail" && return
    echo "$name $(sum_of "$spool/data.tail")" >"$spool/tail"
    return 1
}

list= folder= place=
{ read -r place && list=$(tr '\n' ' '); } 2>/dev/null <pgtandem/wal-hosts
if [ -n "$archive" ]; then
    read -r system <pgtandem/system_identifier || { say "no system identifier"; exit 1; }
    folder=$archive/$system list=". $list"
fi
if is_segment "$name"; then kind=segment count=9999; else kind=other count=1; fi
# The usual answer at the end of the archive, at once.
case $list in
'') exit 1 ;;
'. ')
    if [ -x "$folder" ] && ! find_wal "$name" && [ ! -f "$spool/$name" ]; then
        take_tail
        exit 1
    fi ;;
esac
mark=$(printf '\036pgtandem-wal')
# A promotion takes the signal file away and asks for history files still: it has what it needs.
if ! is_standby && { [ -f recovery.signal ] || [ -f recovery.conf ]; }; then patient=yes; else patient=no; fi
# A history file that came by streaming is the same everywhere; the server takes it where it is.
case $name in *.history) [ -f "pg_wal/$name" ] && exit 1 ;; esac

if [ "$run" = none ]; then
    # No server: pg_rewind asks, or a person. Nothing comes ahead, and nothing changes or stays behind their back.
    spool=$spool.$$ count=1
    mkdir "$spool" || exit 1
    trap 'wait; rm -rf "$spool"' EXIT
    trap 'exit 1' HUP INT TERM
elif [ "$was" != "$run" ]; then
    rm -rf "$spool"
    mkdir -p "$spool" && echo "$run" >"$spool/run" || exit 1
fi
take && exit 0

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
    if [ ! -e "$spool/failed.$kind" ]; then
        take_tail
        exit 1
    fi
    attempt=$((attempt + 1))
    if [ "$patient" = no ] || [ "$attempt" -ge 5 ]; then break; fi
    sleep 1
done
read -r failed <"$spool/failed.$kind"
[ "$patient" = no ] && [ ! -s "$spool/errors.$kind" ] && exit 1
case $failed in .) failed="the archive $folder" ;; esac
say "could not get $name from $failed: $(tail -n 2 "$spool/errors.$kind" | tr '\n' ' ')"
if [ "$patient" = no ]; then exit 1; fi
exit 255
"""
)

#: The same program: where it is called by this name, it is given the archive's folder.
RESTORE_TEXT = FETCH_TEXT
