#!/bin/sh
# The runbook's verbs that build the cluster. What each does: eks-cluster-deploy.sh VERB --help
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "$0")")" && pwd)
exec "$here/comanda-deploy" verb eks-cluster-deploy.sh "$@"
