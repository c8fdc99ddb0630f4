#!/bin/sh
# A shell with all that the scripts and kubectl need; infra-shell.sh CMD... runs one command so.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "$0")")" && pwd)
case ${1:-} in
-h | --help)
    echo "infra-shell.sh: reads infra/settings.toml (and COMANDA_SETTINGS), exports what the scripts and kubectl need,"
    echo "starts \$SHELL. infra-shell.sh CMD... runs one command so. What is exported: infra-shell.sh env"
    exit 0
    ;;
esac
exports=$("$here/comanda-deploy" env)
eval "$exports"
if [ $# -gt 0 ]; then
    exec "$@"
fi
echo "Comanda's shell: region $AWS_REGION, profile ${AWS_PROFILE:-none, keys from the environment}." \
    "comanda-deploy and the scripts are in its PATH; exit leaves it."
exec "${SHELL:-/bin/sh}"
