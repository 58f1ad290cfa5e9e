# One image for runners and for the dispatcher's own job. It needs no Docker socket.
#
#   docker build -t disinto:0.1.0 .
#   docker build --build-arg BASE=registry.example/debian-python:12 -t disinto:0.1.0 .
#   docker run --rm disinto:0.1.0 --help
#
# BASE is any Debian or Ubuntu with Python 3.11 or newer. Give the image a tag of its own: Nomad
# asks the registry again for `latest` at every run. Where no package index is reached, put wheels
# of the locked requirements and of the build system into ./wheelhouse before (`pip download -d
# wheelhouse --require-hashes -r requirements.lock && pip download -d wheelhouse hatchling`); they
# are used instead of the index, and must have the locked hashes all the same.
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
WORKDIR /src
COPY . .
RUN set -eu; \
    python3 -m venv /opt/disinto; \
    if ls wheelhouse/*.whl >/dev/null 2>&1; then export PIP_NO_INDEX=1 PIP_FIND_LINKS=/src/wheelhouse; fi; \
    /opt/disinto/bin/pip install --no-cache-dir --no-compile --require-hashes -r requirements.lock; \
    /opt/disinto/bin/pip install --no-cache-dir --no-compile --no-deps .; \
    /opt/disinto/bin/pip uninstall --yes pip; \
    python3 -m compileall -q /opt/disinto/lib

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="disinto" \
      org.opencontainers.image.description="A merged action file becomes exactly one run, and exactly one result beside it" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# What formulas and the dispatcher use, if the base does not bring it.
RUN set -eu; \
    for program in git bash ssh gpg; do command -v "$program" >/dev/null || missing=yes; done; \
    if [ -n "${missing:-}" ]; then \
      apt-get update; \
      apt-get install --yes --no-install-recommends git bash openssh-client gnupg ca-certificates; \
      rm -rf /var/lib/apt/lists/*; \
    fi
# The directories that mounts appear in exist, so that what is above them belongs to the user.
# mounts: rendered by make docs
RUN useradd --uid 1000 --user-group --create-home --shell /bin/bash agent; \
    cd /home/agent; \
    mkdir -p .ssh .gnupg .config/sops/age repos ops-repo data; \
    chmod 0700 .ssh .gnupg .config/sops/age; \
    chown -R agent:agent /home/agent
# end of mounts
COPY --from=build /opt/disinto /opt/disinto
ENV PATH=/opt/disinto/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8
USER agent
WORKDIR /home/agent
# For `serve`. A container that serves nothing is reported healthy; Nomad's jobs switch it off and
# have checks of their own.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["python3", "-m", "dispatcher.listener.probe"]
ENTRYPOINT ["disinto"]
CMD ["--help"]
