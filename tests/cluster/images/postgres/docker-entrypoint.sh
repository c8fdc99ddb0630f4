#!/bin/sh
# In the tests' stand-in for the image postgres:18: begins as the original does, for what a StatefulSet asks of it.
# Written from what the image's page on Docker Hub promises. It runs as the user postgres alone, never as root.
set -eu

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# Answers $1, or what stands in the file that $1_FILE names.
given() {
    value=$(eval "printf %s \"\${$1:-}\"")
    file=$(eval "printf %s \"\${$1_FILE:-}\"")
    if [ -n "$value" ] && [ -n "$file" ]; then
        fail "give $1 or $1_FILE, and not both"
    fi
    if [ -n "$file" ]; then cat "$file"; else printf %s "${value:-${2:-}}"; fi
}

case ${1:-} in -*) set -- postgres "$@" ;; esac
[ "${1:-}" = postgres ] || exec "$@"
[ "$(id -u)" -ne 0 ] || fail "this stand-in does not run as root: set runAsUser"

# Since 18 the volume is one folder up; data at the old place is somebody's mistake.
if [ -d /var/lib/postgresql/data ] || grep -q ' /var/lib/postgresql/data ' /proc/mounts; then
    fail "a volume is mounted at the place that versions before 18 had: mount it at /var/lib/postgresql"
fi

mkdir -p "$PGDATA"
chmod 0700 "$PGDATA"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    user=$(given POSTGRES_USER postgres)
    database=$(given POSTGRES_DB "$user")
    password=$(given POSTGRES_PASSWORD)
    arguments=$(given POSTGRES_INITDB_ARGS)
    method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
    if [ -z "$password" ] && [ "$method" != trust ]; then
        fail "the disk is empty, and no password is given for the first user: set POSTGRES_PASSWORD_FILE"
    fi
    umask 077
    printf '%s\n' "$password" >/tmp/password
    # shellcheck disable=SC2086
    initdb --username="$user" --pwfile=/tmp/password $arguments
    rm /tmp/password
    printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
    # For the time of the preparations it listens to nobody but its socket.
    shift
    PGUSER=$user pg_ctl -D "$PGDATA" -o "$* -c listen_addresses='' -p 5432" -w start
    run_sql() { PGPASSWORD=$password psql -v ON_ERROR_STOP=1 --no-password --no-psqlrc --username "$user" "$@"; }
    if [ "$database" != postgres ]; then
        printf 'CREATE DATABASE :"name";\n' | run_sql --dbname postgres --set name="$database"
    fi
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
        *.sh) if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
        *.sql) echo "running $file" && run_sql --dbname "$database" --file "$file" ;;
        esac
    done
    pg_ctl -D "$PGDATA" -m fast -w stop
    echo 'prepared; starting'
    set -- postgres "$@"
fi
exec "$@"
