# Three images from one file:
#
#   api     the API, migrations and the client commands; no PyTorch
#   ml      the same with PyTorch: inference, workers, training, on CPUs and on NVIDIA GPUs
#   front   HAProxy before them: one address
#
# Each runs as a user that is nobody, on a read-only root file system: only /tmp and the folders
# named as volumes are written to. Where packages come from a mirror, its address is a build secret:
#
#   docker build --target ml --secret id=index,src=FILE .

FROM python:3.11-slim-bookworm AS tools
COPY requirements-build.lock /build/
RUN --mount=type=secret,id=index \
    if [ -s /run/secrets/index ]; then PIP_INDEX_URL=$(cat /run/secrets/index); export PIP_INDEX_URL; fi; \
    pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
      --require-hashes -r /build/requirements-build.lock
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY core core
COPY lethe lethe
COPY migrations migrations
COPY service service
COPY unlearning unlearning
COPY worker worker
RUN uv build --quiet --wheel --no-build-isolation --out-dir /wheel


FROM python:3.11-slim-bookworm AS packages
ENV LANG=C.UTF-8 \
    PATH=/opt/lethe/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    VIRTUAL_ENV=/opt/lethe
RUN groupadd --gid 10001 lethe \
 && useradd --uid 10001 --gid lethe --no-create-home --home-dir /var/lib/lethe \
      --shell /usr/sbin/nologin lethe \
 && install -d -o lethe -g lethe -m 0700 /var/lib/lethe /var/lib/lethe-postgres /var/lib/lethe-redis \
 && install -d -o lethe -g lethe -m 0750 /srv/lethe \
 && python -m venv --without-pip /opt/lethe
RUN --mount=type=bind,from=tools,source=/usr/local/bin/uv,target=/mnt/uv \
    --mount=type=bind,source=deploy/image/install.sh,target=/mnt/install.sh \
    --mount=type=bind,source=requirements-api.lock,target=/mnt/requirements.lock \
    --mount=type=secret,id=index \
    sh /mnt/install.sh --require-hashes -r /mnt/requirements.lock
COPY --chmod=0755 deploy/image/make-keys.sh /usr/local/bin/lethe-make-keys
# Where a container is told nothing, its keys and data lie here; compose and Kubernetes say more.
ENV LETHE_HOME=/var/lib/lethe \
    LETHE_STORE_URL=/srv/lethe \
    LETHE_LOG=json
WORKDIR /tmp
EXPOSE 8000
STOPSIGNAL SIGTERM
# Ready, not only alive: what waits for this container wants to be answered. A worker listens
# nowhere; whoever runs one looks at the age of LETHE_ALIVE_FILE instead.
HEALTHCHECK --interval=5s --timeout=5s --start-period=180s --retries=3 \
  CMD ["python", "-Ic", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"]


FROM packages AS api
RUN --mount=type=bind,from=tools,source=/usr/local/bin/uv,target=/mnt/uv \
    --mount=type=bind,from=tools,source=/wheel,target=/mnt/wheel \
    --mount=type=bind,source=deploy/image/install.sh,target=/mnt/install.sh \
    sh /mnt/install.sh --no-deps /mnt/wheel/*.whl
USER 10001:10001
CMD ["lethe", "serve", "--host", "0.0.0.0", "--role", "api"]
LABEL org.opencontainers.image.title="Lethe: API" \
      org.opencontainers.image.description="A right-to-be-forgotten service for served models" \
      org.opencontainers.image.licenses="Apache-2.0"


# PyTorch first, a layer of its own: it is large and seldom changes.
FROM packages AS ml
RUN --mount=type=bind,from=tools,source=/usr/local/bin/uv,target=/mnt/uv \
    --mount=type=bind,source=deploy/image/install.sh,target=/mnt/install.sh \
    --mount=type=bind,source=requirements-ml.lock,target=/mnt/requirements.lock \
    --mount=type=secret,id=index \
    sh /mnt/install.sh --require-hashes -r /mnt/requirements.lock
RUN --mount=type=bind,from=tools,source=/usr/local/bin/uv,target=/mnt/uv \
    --mount=type=bind,from=tools,source=/wheel,target=/mnt/wheel \
    --mount=type=bind,source=deploy/image/install.sh,target=/mnt/install.sh \
    sh /mnt/install.sh --no-deps /mnt/wheel/*.whl
# What PyTorch's and Triton's compilers keep would go to a home that cannot be written to.
ENV OMP_NUM_THREADS=1 \
    TORCHINDUCTOR_CACHE_DIR=/tmp/torchinductor \
    TRITON_CACHE_DIR=/tmp/triton
USER 10001:10001
CMD ["lethe", "serve", "--host", "0.0.0.0", "--role", "inference"]
LABEL org.opencontainers.image.title="Lethe: inference and workers" \
      org.opencontainers.image.description="A right-to-be-forgotten service for served models" \
      org.opencontainers.image.licenses="Apache-2.0"


FROM debian:bookworm-slim AS front
# hadolint ignore=DL3008 # Debian keeps no older build of a package: its security updates replace it
RUN apt-get update \
 && apt-get install -y --no-install-recommends haproxy \
 && rm -rf /var/lib/apt/lists/*
COPY deploy/image/haproxy.cfg /etc/haproxy/haproxy.cfg
EXPOSE 8000
STOPSIGNAL SIGUSR1
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8405 && printf 'GET /livez HTTP/1.0\\r\\n\\r\\n' >&3 && grep -q '200 OK' <&3"]
USER 65532:65532
CMD ["haproxy", "-W", "-db", "-f", "/etc/haproxy/haproxy.cfg"]
LABEL org.opencontainers.image.title="Lethe: front" \
      org.opencontainers.image.description="One address before Lethe's API and inference" \
      org.opencontainers.image.licenses="Apache-2.0"
