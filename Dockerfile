# One image for runners and for the dispatcher's own job. It needs no Docker socket.
#
#   docker build -t disinto:0.1.0 .
#   docker build --build-arg BASE=registry.example/debian-python:12 -t disinto:0.1.0 .
#
# BASE is any Debian or Ubuntu with Python 3.11 or newer. Give the image a tag of its own: Nomad
# asks the registry again for `latest` at every run. Where no package index is reached, put wheels
# of the build system and of all dependencies into ./wheelhouse before (`pip download -d wheelhouse
# hatchling .`); they are taken instead.
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
WORKDIR /src
COPY . .
RUN set -eu; \
    python3 -m venv /opt/disinto; \
    if ls wheelhouse/*.whl >/dev/null 2>&1; then export PIP_NO_INDEX=1 PIP_FIND_LINKS=/src/wheelhouse; fi; \
    /opt/disinto/bin/pip install --no-cache-dir --no-compile .; \
    /opt/disinto/bin/pip uninstall --yes pip; \
    python3 -m compileall -q /opt/disinto/lib

FROM ${BASE}
# What formulas and the dispatcher use, where the base does not bring it.
RUN set -eu; \
    for program in git bash ssh gpg; do command -v "$program" >/dev/null || missing=yes; done; \
    if [ -n "${missing:-}" ]; then \
      apt-get update; \
      apt-get install --yes --no-install-recommends git bash openssh-client gnupg ca-certificates; \
      rm -rf /var/lib/apt/lists/*; \
    fi
# The folders that mounts appear in exist, so that what is above them belongs to the user.
RUN useradd --uid 1000 --user-group --create-home --shell /bin/bash agent; \
    cd /home/agent; \
    mkdir -p .ssh .gnupg .config/sops/age repos ops-repo data; \
    chmod 0700 .ssh .gnupg .config/sops/age; \
    chown -R agent:agent /home/agent
COPY --from=build /opt/disinto /opt/disinto
ENV PATH=/opt/disinto/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8
USER agent
WORKDIR /home/agent
CMD ["disinto", "--help"]
