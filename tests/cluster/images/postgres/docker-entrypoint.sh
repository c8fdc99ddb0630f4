#!/bin/bash
# In the tests' stand-in for the image postgres:18: begins as the original does, and refuses what that refuses.
# Written in words of our own from what the image's page promises and from how it behaves. Not with -u: scripts that
# are sourced below are written for a shell without it.
set -Eeo pipefail

SCRIPTS=/docker-entrypoint-initdb.d

say() { printf 'stand-in for postgres: %s\n' "$*" >&2; }

refuse() {
    say "$@"
    exit 1
}

# Sets and exports $1: as given, or what stands in the file that $1_FILE names, or $2.
setting() {
    local -n named=$1
    local file=$1_FILE
    if [[ -n $named && -n ${!file} ]]; then
        refuse "both $1 and $1_FILE are set: only one of them may be"
    elif [[ -n ${!file} ]]; then
        named=$(<"${!file}")
    elif [[ -z $named ]]; then
        named=${2:-}
    fi
    export "${1?}"
    unset "$file"
}

# Answers whether the server is wanted, and not another program, its help or its version.
is_server() {
    [[ ${1:-} == postgres ]] || return 1
    local argument
    for argument; do
        case $argument in --help | '-?' | --version | -V | --describe-config) return 1 ;; esac
    done
}

# Finds in `misplaced` what a start on an empty disk would lose sight of: an older version's data, or a volume where
# versions before 18 had theirs. Who has chosen another PGDATA knows where it is.
find_misplaced() {
    misplaced=()
    local home=/var/lib/postgresql folder
    [[ ! -s $PGDATA/PG_VERSION && $PGDATA == "$home/$PG_MAJOR/docker" ]] || return 0
    for folder in "$home" "$home/data" "$home"/*/docker; do
        if [[ -s $folder/PG_VERSION ]]; then misplaced+=("$folder"); fi
    done
    if [[ ${#misplaced[@]} -eq 0 ]] && mountpoint --quiet "$home/data"; then misplaced+=("the volume at $home/data"); fi
}

# What is not ours to change may be as it has to be, or the server says what is wrong with it.
make_folders() {
    mkdir -p "$PGDATA"
    chmod 0700 "$PGDATA" || true
    mkdir -p /var/run/postgresql || true
    chmod 3775 /var/run/postgresql || true
    if [[ -n ${POSTGRES_INITDB_WALDIR:-} ]]; then
        mkdir -p "$POSTGRES_INITDB_WALDIR"
        chmod 0700 "$POSTGRES_INITDB_WALDIR"
    fi
}

step_down() {
    chown -R postgres "$PGDATA" /var/run/postgresql ${POSTGRES_INITDB_WALDIR:+"$POSTGRES_INITDB_WALDIR"}
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$0" "$@"
}

# The function's name is the original's: scripts call it.
docker_process_sql() {
    PGHOST='' PGHOSTADDR='' psql --set=ON_ERROR_STOP=1 --no-psqlrc --no-password \
        --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" "$@"
}

# initdb wants a user with a name; to one without it, it is shown a list of users in which there is one.
run_initdb() {
    local users='' library
    if ! getent passwd "$(id -u)" >/dev/null; then
        for library in /usr/lib/*/libnss_wrapper.so; do
            users=$(mktemp -d)
            printf 'postgres:x:%s:%s::%s:/bin/false\n' "$(id -u)" "$(id -g)" "$PGDATA" >"$users/passwd"
            printf 'postgres:x:%s:\n' "$(id -g)" >"$users/group"
            export LD_PRELOAD=$library NSS_WRAPPER_PASSWD=$users/passwd NSS_WRAPPER_GROUP=$users/group
        done
    fi
    # Read as the shell reads a command, quotes and all: so it is with the original.
    local -a arguments
    eval "arguments=($POSTGRES_INITDB_ARGS)"
    if [[ -n ${POSTGRES_INITDB_WALDIR:-} ]]; then arguments+=("--waldir=$POSTGRES_INITDB_WALDIR"); fi
    # By a pipe, so that the password is in no file and in no list of processes.
    initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") "${arguments[@]}"
    if [[ -n $users ]]; then
        unset LD_PRELOAD NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP
        rm -r "$users"
    fi
}

run_scripts() {
    local script
    for script in "$SCRIPTS"/*; do
        [[ -e $script ]] || continue # there is none, and the pattern stands for itself
        say "at $script"
        case $script in
            *.sh)
                # shellcheck source=/dev/null
                if [[ -x $script ]]; then "$script"; else . "$script"; fi
                ;;
            *.sql) docker_process_sql --file="$script" ;;
            *.sql.gz) gzip --decompress --stdout "$script" | docker_process_sql ;;
            *.sql.xz) xz --decompress --stdout "$script" | docker_process_sql ;;
            *.sql.zst) zstd --decompress --stdout "$script" | docker_process_sql ;;
            *) say "which is left alone: it is neither .sh nor .sql" ;;
        esac
    done
}

# Prepares an empty disk. The arguments are the server's, which has to be configured meanwhile as it will be later.
prepare() {
    if [[ ${POSTGRES_HOST_AUTH_METHOD:-} == trust ]]; then
        say "POSTGRES_HOST_AUTH_METHOD=trust: whoever reaches the port needs no password"
    elif [[ -z $POSTGRES_PASSWORD ]]; then
        refuse "the disk is empty, and the first user has no password: set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE"
    fi
    if [[ ${#misplaced[@]} -gt 0 ]]; then
        refuse "since 18 a volume is mounted at /var/lib/postgresql, but there is data or a volume elsewhere:" \
            "${misplaced[*]}"
    fi
    # Better now than when the disk is half prepared.
    ls "$SCRIPTS/" >/dev/null

    run_initdb
    local method
    method=$(postgres -C password_encryption "$@")
    printf '\nhost all all all %s\n' "${POSTGRES_HOST_AUTH_METHOD:-$method}" >>"$PGDATA/pg_hba.conf"

    # Nobody but its socket's users meets it before it is ready. `local` may ask for a password too.
    export PGPASSWORD=${PGPASSWORD:-$POSTGRES_PASSWORD}
    local -a server=("$@" -c listen_addresses= -p "${PGPORT:-5432}")
    NOTIFY_SOCKET='' pg_ctl --pgdata="$PGDATA" --options="${server[*]@Q}" --wait start
    docker_process_sql --dbname=postgres --set=name="$POSTGRES_DB" <<'SQL'
SELECT format('CREATE DATABASE %I', :'name') WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
SQL
    run_scripts
    pg_ctl --pgdata="$PGDATA" --mode=fast --wait stop
    unset PGPASSWORD
    say "the disk is prepared; the server starts"
}

case ${1:-} in -*) set -- postgres "$@" ;; esac
if is_server "$@"; then
    # Read at every start, as by the original: a file that is missing, or two answers to one question, end it.
    setting POSTGRES_PASSWORD
    setting POSTGRES_USER postgres
    setting POSTGRES_DB "$POSTGRES_USER"
    setting POSTGRES_INITDB_ARGS
    find_misplaced
    make_folders
    if [[ $(id -u) -eq 0 ]]; then step_down "$@"; fi
    if [[ -s $PGDATA/PG_VERSION ]]; then
        say "the disk has a database already, and is not prepared again"
    else
        prepare "${@:2}"
    fi
    unset POSTGRES_PASSWORD
fi
exec "$@"
