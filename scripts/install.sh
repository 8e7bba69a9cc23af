#!/bin/sh
# Installs pgtandem into .venv: install.sh PYTHON run|dev. Safe to repeat and to interrupt.
set -eu
cd "$(dirname "$0")/.."
python=$1 what=$2
"$python" - <<'PY'
import sys
if sys.version_info < (3, 11):
    sys.exit("error: python3 3.11 or newer is needed, this is " + sys.version.split()[0]
             + "\nnext:  make PYTHON=python3.12 ...")
try:
    import venv, ensurepip
except ImportError:
    sys.exit("error: this python3 cannot make virtual environments"
             "\nnext:  apt-get install python3-venv   (or your system's package of that kind)")
PY
[ -x .venv/bin/python ] && .venv/bin/python -c '' 2>/dev/null || "$python" -m venv --clear .venv
echo "installing pgtandem ($what) into .venv ..."
pip() { .venv/bin/python -m pip --disable-pip-version-check --no-input "$@" >.venv/pip.log 2>&1 || { cat .venv/pip.log >&2; exit 1; }; }
pip install --require-hashes -r "requirements/$what.txt"
pip install --no-deps --no-build-isolation -e .
touch ".venv/.installed-$what"
[ "$what" = run ] || touch .venv/.installed-run
