"""A shell program that ends what is left of a server whose postmaster was killed.

A session that works goes on after kill -9 of its postmaster, and commits, until it has to wait for its client; the
checkpointer of 10 to 13 goes on until its checkpoint is done, which takes minutes. No server starts on the data
meanwhile ("pre-existing shared memory block is still in use"), and what they write into the data nobody expects.
"""

#: How it ends where one of them does not.
STAYS = 3

#: argv: the data directory. They are the processes of a server ("postgres: ...") that work in it and whose parent does
#: not: the children of a postmaster that lives are none. Told to end as in an immediate shutdown, after two seconds
#: killed. stdout: the numbers of those that have ended; where one stays, of that one.
END_LEFT_BEHIND = rf"""
cd "$1" 2>/dev/null || exit 0
here() {{ [ "/proc/$1/cwd" -ef . ]; }}
left_behind() {{
    here "$1" && grep -q "^postgres: " "/proc/$1/cmdline" 2>/dev/null || return
    parent=
    while read -r key value; do
        case $key in PPid:) parent=$value ;; esac
    done <"/proc/$1/status" || return
    ! here "$parent"
}} 2>/dev/null
of() {{
    for pid in "$@"; do ! left_behind "$pid" || echo "$pid"; done
}}
found=$(cd /proc 2>/dev/null && echo [0-9]*)
found=$(of $found)
[ "$found" ] || exit 0
stay=$found round=0
kill -QUIT $found 2>/dev/null
while stay=$(of $stay) && [ "$stay" ]; do
    round=$((round + 1))
    [ $round != 20 ] || kill -KILL $stay 2>/dev/null
    [ $round -lt 100 ] || {{ echo $stay; exit {STAYS}; }}
    sleep 0.1
done
echo $found
"""
