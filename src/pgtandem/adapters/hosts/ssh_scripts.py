"""What runs on a host that is reached over SSH: POSIX shell, nothing installed.

Only constant text ever stands on a command line there (`START`). Everything else arrives on stdin: first the account,
then one of the two scripts, then requests. A text travels as one line, see `encoded`; so no path and no argument is
ever read by a shell as its own words, and none shows in the host's process list before its program runs.

`HELPER` stays and answers requests in turn; `RUNNER` runs one program and ends. Both mark where their own words begin
and end, on stdout and on stderr, by a byte 036 and a secret: what a login shell prints before counts for nothing.
"""

from collections.abc import Sequence

from pgtandem.adapters.hosts.account import STANDARD_PATH

#: Becomes the account, with an empty environment (`env -i` last, so that sudo adds nothing). The pipes belong to who
#: logged in: without chmod the account could not open /dev/stdin by its name, as initdb --pwfile=/dev/stdin does.
_BECOME = """
IFS= read -r a
if [ -z "$a" ] || [ "$(id -un)" = "$a" ]
then exec env -i /bin/sh -c "$0" pgtandem
fi
exec 9>&2
chmod 666 /dev/fd/0 /dev/fd/1 /dev/fd/9 2>/dev/null
exec 9>&-
if [ "$(id -u)" = 0 ] && command -v runuser >/dev/null
then exec runuser -u "$a" -- env -i /bin/sh -c "$0" pgtandem-other
fi
exec sudo -n -u "$a" env -i /bin/sh -c "$0" pgtandem-other
"""

#: The command of every session: constant, without a character that csh or fish read in another way.
START = (
    "exec /bin/sh -c '"
    + _BECOME.strip().replace("\nthen ", "; then ").replace("\nfi", "; fi").replace("\n", "; ")
    + '\' \'IFS= read -r p; eval "$(printf %b "$p")"\''
)

_COMMON = f"""
PATH={STANDARD_PATH}; LC_ALL=C; export PATH LC_ALL
umask 077; cd /
d() {{
  IFS= read -r v || exit 0
  case $v in =*) v=${{v#=}} ;; *) v=$(printf '%bx' "${{v#?}}"); v=${{v%x}} ;; esac
}}
"""

RUNNER = (
    _COMMON
    + r"""
IFS= read -r t
d; n=$v
while [ "$n" -gt 0 ]; do d; export "$v"; n=$((n - 1)); done
g=
if [ -r /proc/$$/stat ]; then
  read -r g </proc/$$/stat; g=${g##*) }; g=${g#* }; g=${g#* }; g=${g%% *}
fi
[ -n "$g" ] || g=$(($(ps -o pgid= -p $$)))
d; n=$v; set --
while [ "$n" -gt 0 ]; do d; set -- "$@" "$v"; n=$((n - 1)); done
f=$1; shift
case $f in
*/*) ;;
*)
  p=$f; IFS=:
  for i in $PATH; do
    if [ -f "$i/$p" ] && [ -x "$i/$p" ]; then f=$i/$p; break; fi
  done
  unset IFS ;;
esac
r=
case $f in */*) [ -e "$f" ] || r='No such file or directory' ;; *) r='No such file or directory' ;; esac
if [ -z "$r" ]; then
  if [ -d "$f" ]; then r='Is a directory'; elif [ ! -x "$f" ]; then r='Permission denied'; fi
fi
if [ -n "$r" ]; then printf '\036%s\n\036%s\n' "$t" "$t"; printf '\036%s 0\n\036%s !%s\n' "$t" "$t" "$r" >&2; exit; fi
printf '\036%s\n' "$t"; printf '\036%s %s\n' "$t" "$g" >&2
trap : HUP INT QUIT TERM
exec 3>&2 2>/dev/null
case $f in -*) f=./$f ;; esac
(exec "$f" "$@" 2>&3 3>&-)
r=$?
printf '\036%s\n' "$t"; printf '\036%s %s\n' "$t" "$r" >&3
"""
)

#: What an operation of the helper answers with, beside 0 and failures.
ABSENT_CODE = 44
REMEDY_CODE = 45
NO_PROGRAM_CODE = 46

HELPER = (
    _COMMON
    + r"""
trap '' HUP
no() { printf '%s\n' "$1" >&2; return 1; }
folder() { p=${1%/*}; p=${p:-/}; }
gone() {
  if [ -e "$1" ] || [ -h "$1" ]; then return 1; fi
  # The shell's own words say why as well, and spare a program, which is most of what an answer takes.
  m=$({ :; } 2>&1 <"$1") && return 1
  case $m in *': '[Nn]'o such file' | *': No such file or directory' | *': Not a directory') return 0 ;; esac
  m=$(ls -d "$1" 2>&1) && return 1
  case $m in *': No such file or directory' | *': Not a directory') return 0 ;; esac
  printf '%s\n' "$m" >&2
  return 2
}
there() {
  gone "$1"
  case $? in 0) return 44 ;; 1) return 0 ;; *) return 1 ;; esac
}
durable() { sync "$@" 2>/dev/null || sync; }
o_hello() {
  u=$(id -un) || u=; h=/
  case $u in '' | *[!A-Za-z0-9_.-]*) ;; *) eval "h=~$u" ;; esac
  case $h in /*) ;; *) h=/ ;; esac
  printf '%s/%s/%s/%s' "$0" "$(id -u)" "$u" "$h"
}
o_read() {
  there "$1" || return
  if [ -d "$1" ]; then no 'It is a folder.'; return; fi
  if [ -b "$1" ] || [ -c "$1" ] || [ -p "$1" ] || [ -S "$1" ] || { [ -h "$1" ] && [ ! -e "$1" ]; }; then
    no 'It is not a regular file.'
    return
  fi
  if m=$(cat "$1" 2>&1 >&3); then return; fi
  case $m in
  # It went away meanwhile, or another one is taking its place: nothing of it was read.
  *': No such file or directory' | *': Not a directory') o_read "$1" ;;
  *) no "$m" ;;
  esac
} 3>&1
o_list() {
  there "$1" || return
  if [ ! -d "$1" ]; then no 'Not a directory'; return; fi
  if [ ! -r "$1" ] || [ ! -x "$1" ]; then no 'Permission denied'; return; fi
  (
    cd "$1" || exit 1
    for f in * .*; do
      case $f in . | ..) continue ;; esac
      if [ -e "$f" ] || [ -h "$f" ]; then printf '%s/' "$f"; fi
    done
  )
}
o_link() {
  if [ -h "$1" ]; then readlink "$1"; else return 44; fi
}
o_write() { # path, hidden file beside it, mode, content
  folder "$1"
  there "$p" || { [ $? = 44 ] && no "No such file or directory: $p"; return 1; }
  if (set -C; printf %b "$4" | cat >"$2"); then o_publish "$1" "$2" "$3" ''; return; fi
  rm -f "$2"
  return 1
}
o_publish() { # path, hidden file beside it, mode, its size where it must be looked at
  folder "$1"
  if [ -n "$4" ] && [ "$(($(wc -c <"$2")))" != "$4" ]; then
    no 'Not all of it could be written.'
  elif [ -d "$1" ]; then
    no 'It is a folder.'
  elif { [ "$3" = 600 ] || chmod "$3" "$2"; } && durable "$2" && mv -f "$2" "$1"; then
    durable "$p"
    return
  fi
  rm -f "$2"
  return 1
}
o_mkdir() {
  if [ -d "$1" ]; then
    if [ -r "$1" ] && [ -w "$1" ] && [ -x "$1" ]; then return 0; fi
    e=$(mkdir "$1/.pgtandem-$$" 2>&1) && rmdir "$1/.pgtandem-$$"
    case $e in *': Read-only file system') no "$e"; return 1 ;; esac
    no "It is there, belongs to $(stat -c %U "$1"), and account \"$u\" may not write in it."
    return 45
  fi
  q=$1 w=$1 m=$2
  set --
  while [ ! -d "$q" ]; do
    if [ -e "$q" ] || [ -h "$q" ]; then no "Not a directory: $q"; return; fi
    set -- "$q" "$@"; q=${q%/*}; q=${q:-/}
  done
  for f do
    if [ "$f" = "$w" ]; then i=$m; else i=755; fi
    if e=$(mkdir -m "$i" "$f" 2>&1) || [ -d "$f" ]; then continue; fi
    no "$e"
    case $e in *': Permission denied') return 45 ;; esac
    return 1
  done
  while [ $# -gt 0 ]; do folder "$1"; durable "$p"; shift; done
}
o_rename() {
  there "$1" || { [ $? = 44 ] && no 'No such file or directory'; return 1; }
  folder "$2"; q=$p; folder "$1"
  a=$(stat -c %d "$1") && b=$(stat -c %d "$q") || return 1
  if [ "$a" != "$b" ]; then no 'The two places are on different file systems.'; return; fi
  if ! m=$(mv -fT "$1" "$2" 2>&1); then
    case $m in *'invalid option'* | *'unrecognized option'* | *'illegal option'*) ;; *) no "$m"; return ;; esac
    if [ -d "$2" ]; then
      if [ -h "$2" ] || [ ! -d "$1" ]; then no 'A folder is there.'; return; fi
      rmdir "$2" || return 1
    fi
    mv -f "$1" "$2" || return 1
  fi
  if [ "$p" = "$q" ]; then durable "$p"; else durable "$p" "$q"; fi
}
o_rm() {
  there "$1" || { [ $? = 44 ]; return; }
  folder "$1"
  if [ ! -h "$1" ] && [ -d "$1" ]; then no 'It is a folder.'; return; fi
  rm -f "$1" && durable "$p"
}
o_removable() {
  there "$1" || return
  if [ -h "$1" ]; then no 'It is a link.'; elif [ ! -d "$1" ]; then no 'It is not a folder.'; fi
}
o_removed() {
  gone "$1" || { [ $? = 2 ] || no 'It is still there.'; return 1; }
  folder "$1"
  gone "$p" || durable "$p"
}
o_there() { there "$1"; }
o_space() {
  q=$1
  while gone "$q"; do [ "$q" != / ] || return 1; q=${q%/*}; q=${q:-/}; done
  stat -L -c %d "$q" && df -Pk "$q"
}
o_executable() { [ -f "$1" ] && [ -x "$1" ]; }
o_run() {
  f=$(command -v "$1") || f=$1
  if [ ! -e "$f" ]; then no 'No such file or directory'; return 46; fi
  if [ -d "$f" ]; then no 'Is a directory'; return 46; fi
  if [ ! -x "$f" ]; then no 'Permission denied'; return 46; fi
  shift
  "$f" "$@"
}
o_programs() { # the folders of $@, and those that PATH leads to, that hold a program postgres
  IFS=:
  for i in $PATH; do
    unset IFS
    if [ -f "$i/postgres" ]; then i=$(readlink -f "$i/postgres"); set -- "$@" "${i%/*}"; fi
  done
  unset IFS
  for i do if [ -f "$i/postgres" ]; then printf '%s\n' "$i"; fi; done
}
o_resolve() { getent ahosts "$1"; }
o_sockets() {
  cat /proc/net/tcp
  [ ! -r /proc/net/tcp6 ] || cat /proc/net/tcp6
  printf '\036\n'
  ss -Hltnp 2>/dev/null || :
}
o_alive() {
  if ! m=$(kill -0 "$1" 2>&1); then case $m in *'ot permitted'*) ;; *) return 1 ;; esac; fi
  s=
  if [ -r "/proc/$1/stat" ]; then read -r s 2>/dev/null <"/proc/$1/stat"; s=${s##*) }
  elif [ ! -r /proc/self/stat ]; then s=$(ps -o stat= -p "$1"); fi
  case $s in Z* | X*) return 1 ;; esac
}
o_quit() {
  m=$(kill -QUIT "$1" 2>&1) && return
  if o_alive "$1"; then no "$m"; fi
}
end() { for i in $groups; do kill "-$1" "-$i" 2>/dev/null; done; }
IFS= read -r t
groups=
printf '\036%s\n' "$t"; printf '\036%s\n' "$t" >&2
while IFS=' ' read -r o n; do
  case $o in
  watch) groups="$groups $n" ;;
  forget) k=; for i in $groups; do [ "$i" = "$n" ] || k="$k $i"; done; groups=$k ;;
  term) kill -TERM "-$n" 2>/dev/null ;;
  kill) kill -KILL "-$n" 2>/dev/null ;;
  *)
    set --
    while [ "$n" -gt 0 ]; do d; set -- "$@" "$v"; n=$((n - 1)); done
    "o_$o" "$@" </dev/null
    r=$?
    printf '\036%s %s\n' "$t" "$r"; printf '\036%s\n' "$t" >&2 ;;
  esac
done
if [ -n "$groups" ]; then end TERM; sleep 2; end KILL; fi
"""
)

_PLAIN = frozenset(range(0x20, 0x7F))
_ESCAPES = [bytes([code]) if code in _PLAIN and code != ord("\\") else b"\\0%03o" % code for code in range(256)]


def encoded(text: str | bytes) -> bytes:
    """A text as one line that `d` of the scripts reads back. Raises ValueError for what no program can be given."""
    raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    if b"\0" in raw:
        raise ValueError("It holds a null character")
    return b"=" + raw + b"\n" if _PLAIN.issuperset(raw) else b"%" + escaped(raw) + b"\n"


def escaped(raw: bytes) -> bytes:
    """Any bytes as the printable text that `printf %b` turns back."""
    return b"".join(map(_ESCAPES.__getitem__, raw))


def script_line(script: str) -> bytes:
    """A script as the line that `START` reads."""
    return escaped(script.encode()) + b"\n"


def request(operation: str, arguments: Sequence[str | bytes]) -> bytes:
    """A request to the helper: the operation, the number of its arguments, and each of them."""
    return b"%s %d\n" % (operation.encode(), len(arguments)) + b"".join(map(encoded, arguments))
