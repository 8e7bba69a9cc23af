"""Shell of the program that fetches WAL (`wal_fetch`): the last WAL that there is, of a segment that was only streamed.

What the archive's stream has brought of a segment that nobody has as a whole: docs/decisions/0036.
"""

#: Needs IS_SEGMENT, FIND, OWN and find_folder; `name`, `kind`, `path`, `spool`, `list`, `mark`, `archive`, and `folder`
#: for the archive here.
TAIL = r"""
goes_further() { # whether $1, what was streamed of the segment with zeros behind it, has WAL that ours has not
    # Both are the beginning of the same WAL. Ours may have anything behind its end, and may be what a commit waited
    # for: it must never give way to less.
    from=1
    if [ -f "pg_wal/$name" ]; then
        set -- "$1" $(cmp -l "pg_wal/$name" "$1" 2>/dev/null | head -n 1)
        [ -n "${2-}" ] || return
        from=$2
        ! { begin_own && has_record $(($2 - 1)); } || return
        size=$(($(wc -c <"$1"))) page=$((($2 - 1) / 8192 * 8192 + 8192)) low=${name#????????}
        address=$((0x${low%????????} * 4294967296 + 0x${low#????????} * size + page))
        [ "$page" = "$size" ] ||
            [ "$(($(od -An -tu8 -j $((page + 8)) -N 8 "pg_wal/$name")))" != "$address" ] || return
    fi
    [ "$(tail -c "+$from" "$1" | tr -d '\000' | head -c 1 | wc -c)" -gt 0 ]
}
take_tail() { # what was streamed of a segment that nobody has as a whole: the last WAL that there is. Ends the program
    # where it gives that to the server, and where there may be such WAL and it could not.
    [ "$kind" = segment ] || return
    if [ -n "$archive" ]; then
        if find_tail "$name" && goes_further "$target"; then
            cp "$target" "$path" && exit 0
            rm -f "$path"
            exit 1
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
    set -- "tail $name ${sum:--}${programs:+ $programs}"
    (cd "$home" && exec ssh -F ssh_config -- archive "$1") 2>"$spool/errors.tail" | receive_tail
    case $? in
    0) mv -f "$spool/data.tail" "$path" && exit 0
        exit 1 ;;
    1) rm -f "$spool/data.tail" ;;
    *)
        # One that an older pgtandem has made does not know what a tail is, and has none.
        grep -q "serve-wal: refused" "$spool/errors.tail" && return
        say "could not ask archive for what was streamed of $name: $(tail -n 2 "$spool/errors.tail" | tr '\n' ' ')"
        exit 1 ;;
    esac
}
sum_of() {
    set -- $(cksum <"$1")
    echo "$1:$2"
}
receive_tail() { # 0: it is in data.tail; 1: there is none, or nothing that we have not; 2: no answer as it should be
    line= word=
    while IFS= read -r line && [ "$line" != "$mark" ]; do :; done
    [ "$line" = "$mark" ] && read -r word bytes form || return 2
    case $word in absent) return 1 ;; tail) ;; *) return 2 ;; esac
    case $form in
    lz4) lz4 -dcq ;;
    zstd) zstd -dcq ;;
    *) cat ;;
    esac >"$spool/data.tail" && [ "$(($(wc -c <"$spool/data.tail")))" = "$bytes" ] || return 2
    goes_further "$spool/data.tail" && rm -f "$spool/tail" && return
    echo "$name $(sum_of "$spool/data.tail")" >"$spool/tail"
    return 1
}
"""
