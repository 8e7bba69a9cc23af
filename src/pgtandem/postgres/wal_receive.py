"""Shell of the program that fetches WAL (`wal_fetch`): how files come from a source into the spool, in the background.

A source is a host, which is asked over SSH and answers as `wal_serve` says, or ".", the archive here.
"""

#: Needs IS_SEGMENT, EXPAND, FIND, COPY and find_folder; `spool`, `kind`, `token`, `name`, `count`, `list`, `mark`,
#: `patient`, `ahead`, and `folder` for the archive here.
RECEIVE = r"""
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
        [ "$polls" -lt 200 ] || return 1
        sleep 0.1 || sleep 1
        polls=$((polls + 1))
    done
}
header() { # sets word, bytes, next, form and sums of the next file that the source has
    if [ "$begun" = yes ]; then
        begun=no # the first line is read already
    elif [ "$host" != . ]; then
        read -r word bytes next form sums
    elif find_wal "$expected"; then
        from=$target
        [ -r "$from" ] || { echo "$from cannot be read by $(id -un)" >&2; return 1; }
        describe "$expected" recorded || return
        word=$expected bytes=$size sums=${known:--}
    elif [ -x "$folder" ]; then
        word=absent
    else
        word=missing
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
    set -- $(cksum <"$spool/data.$token")
    came_bytes=$2
    # An empty history file would tell the server that its timeline comes from nowhere.
    [ "$2" -gt 0 ] || return
    if [ "$form" = none ]; then
        [ "$2" = "$bytes" ] || return
        case $sums, in -, | *",$1:$2,"*) ;; *) return 1 ;; esac
    fi
    # Of the compressed forms, expanding has checked the content.
    ! is_segment "$word" || { [ "$2" -ge 1048576 ] && [ $(($2 % 1048576)) = 0 ]; }
}
write_out() { # these files of the spool. The server syncs what it takes, and replay waits for that: here nobody waits.
    # What it has taken before is not there any more.
    [ -z "$syncing" ] || wait "$syncing"
    (cd "$spool" && exec sync -- "$@") 2>/dev/null &
    syncing=$! unsynced=
}
now() { # sets tick and idle, hundredths of a second: since the machine started, and how long its processors had nothing
    # to do; fails where that is not told
    { read -r tick _; } 2>/dev/null </proc/uptime && { read -r _ _ _ _ idle _; } 2>/dev/null </proc/stat || return
    tick=$((${tick%.*} * 100 + 1${tick#*.} - 100))
}
pace() { # sets slow to "too" where what follows had better be made smaller on its way: what came as it is came at less
    # than 200 MB a second, twice, or once at a quarter of that, while processors had nothing to do. A busy machine, or
    # a faster way, would wait for the compression; a gigabit carries 117 MB.
    [ "$paced.$form" = yes.none ] || return 0
    since=$tick idled=$idle fair=$((bytes / 2000000 + 2))
    now || return 0
    took=$((tick - since))
    if [ "$took" -le "$fair" ] || [ $(((idle - idled) * 2)) -lt "$took" ]; then
        slow=0
    else
        slow=$((slow + 1))
        [ "$slow" -lt 2 ] && [ "$took" -le $((fair * 4)) ] || { echo slow >"$spool/way.$host" && slow=too; }
    fi
    return 0
}
receive() { # 0: the file came, and perhaps others; 1: it is not there; 2: no answer as it should be; 3: it is damaged;
    # 4: it came, and from the name in next.TOKEN on they had better come compressed
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
    expected=$name came=2 came_bytes= slow=0 paced=no unsynced= syncing=
    [ "$host" = . ] || [ -z "$packed" ] || [ -n "$asked" ] || paced=yes
    while header; do
        case $word in
        absent) [ "$came" = 0 ] || came=1; break ;;
        "$expected") ;;
        missing) echo "the archive's folder is not there" >&2; break ;;
        *) break ;;
        esac
        case $bytes in '' | *[!0-9]* | ???????????*) break ;; esac
        room "${came_bytes:-$bytes}" || break
        [ "$paced" = no ] || now || paced=no
        if ! content >"$spool/data.$token" || ! pace || ! sound; then
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
        if [ -n "$unsynced" ]; then write_out "$unsynced" "$word"; else unsynced=$word; fi
        [ "$count" != 1 ] && [ -n "$expected" ] || break
        if [ "$slow.$came" = too.0 ]; then
            echo "$expected" >"$spool/next.$token" && came=4
            break
        fi
    done
    [ -z "$unsynced" ] || write_out "$unsynced"
    rm -f "$spool/data.$token"
    [ "$came" != 0 ] || [ -z "$expected" ] || ! mine || rm -f "$spool/$expected.wanted"
    return "$came"
}
ask() { (cd "$home" && exec ssh -F ssh_config -- "$host" "get $name $count$1"); }
receive_from_host() {
    got=no
    while :; do
        # As it is, until that is seen to be slow.
        asked=$packed
        ! now || [ -e "$spool/way.$host" ] || asked=
        ask "$asked" | receive
        set -- $?
        case $1.${asked:+packed} in
        4.*)
            got=yes
            { read -r name; } <"$spool/next.$token" && rm -f "$spool/next.$token" || break ;;
        2.packed)
            # One that an older pgtandem has made does not know what "packed" is.
            grep -q "serve-wal: refused" "$spool/errors.$kind" || break
            packed= ;;
        *) break ;;
        esac
    done
    [ "$got" = yes ] || return "$1"
}
fetch() { # asks one after the other; leaves in outcome.TOKEN "came", "absent", or who "failed"
    failed= packed= asked= outcome=absent
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
            failed= outcome=came
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
    [ -z "$failed" ] || outcome="failed$failed"
    rm -f "$spool/$name.wanted"
    echo "$outcome" >"$spool/outcome.$token"
}
"""
