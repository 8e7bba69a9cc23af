#!/bin/sh
# Writes the lock files: versions and hashes of everything that is installed, without the address of any index.
# Needs uv; run it after a change of the dependencies in pyproject.toml.
set -eu
cd "$(dirname "$0")/.."
compile() {
    out=$1
    shift
    uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --upgrade \
        --no-annotate --no-header --extra embedded --group build "$@" --output-file "requirements/$out" pyproject.toml
}
compile run.txt
compile dev.txt --group dev
