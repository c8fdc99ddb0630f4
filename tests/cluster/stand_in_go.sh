#!/bin/sh
# Stands in for Go in test_building.py: makes a file for every program asked for, and what STAND_IN_* ask of it.
#   STAND_IN_LOG      where each call goes, a line
#   STAND_IN_ENV      where its environment goes
#   STAND_IN_HANGS    a FIFO: writes its process id and that of its "compiler" there, and does not end by itself
#   STAND_IN_WAITS    a FIFO: goes on when somebody writes to it
#   STAND_IN_FAILS    the package that cannot be built
#   STAND_IN_MODULES  the folder in which modules are
set -eu

[ -z "${STAND_IN_LOG:-}" ] || echo "$*" >>"$STAND_IN_LOG"
case $1 in
version)
    echo "go version go${STAND_IN_VERSION:-1.26.8} linux/amd64"
    exit
    ;;
mod)
    for module; do :; done
    printf '{\n\t"Path": "%s",\n\t"Dir": "%s"\n}\n' "$module" "$STAND_IN_MODULES/$module"
    exit
    ;;
esac

[ -z "${STAND_IN_ENV:-}" ] || env >"$STAND_IN_ENV"
echo module >"$GOMODCACHE"
while [ "$1" != -o ]; do shift; done
into=$2
shift 2
for package; do
    # As Go names them: a major version is no name.
    name=$(echo "$package" | sed -E 's#/v[0-9]+$##; s#.*/##')
    [ "$package" != . ] || name=$(sed -n 's#^module .*/##p' go.mod)
    echo "$package" >"$into$name"
done
if [ "$package" = "${STAND_IN_FAILS:-}" ]; then
    seq 30 | sed 's/^/line /'
    echo "write $into: no space left on device"
    exit 1
fi
if [ -n "${STAND_IN_HANGS:-}" ]; then
    sleep 600 &
    echo "$$ $!" >"$STAND_IN_HANGS"
    wait
fi
[ -z "${STAND_IN_WAITS:-}" ] || read -r _ <"$STAND_IN_WAITS"
