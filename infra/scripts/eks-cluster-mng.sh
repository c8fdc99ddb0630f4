#!/bin/sh
# The runbook's verbs for what runs in the cluster. What each does: eks-cluster-mng.sh VERB --help
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "$0")")" && pwd)
exec "$here/comanda-deploy" verb eks-cluster-mng.sh "$@"
