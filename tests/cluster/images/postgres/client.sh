#!/bin/sh
# In the tests' stand-in for the image postgres:18, every client's command in /usr/bin, where the original has a wrapper
# too. Debian's clients look for the socket in /var/run/postgresql, the wheel's in /tmp.
export PGHOST="${PGHOST:-/var/run/postgresql}"
exec "/usr/lib/postgresql/18/bin/${0##*/}" "$@"
