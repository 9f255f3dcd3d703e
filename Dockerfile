# One image for the watcher, IPAM, agents, and the NATS server that holds the log.
#
#     docker build --tag registry.example/romana-bus:0.1.0 .

FROM python:3.11-slim-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml requirements.lock hatch_build.py README.md LICENSE ./
COPY romana_bus romana_bus
# The versions of the tests; and no image without the compiled CNI plugin.
RUN python -m venv /opt/romana-bus \
    && /opt/romana-bus/bin/pip install --no-cache-dir --constraint requirements.lock . \
    && test -x /opt/romana-bus/lib/python3.11/site-packages/romana_bus/cni/plugin/romana-cni \
    && /opt/romana-bus/bin/nats-server --version

FROM python:3.11-slim-bookworm
COPY --from=build /opt/romana-bus /opt/romana-bus
ENV PATH=/opt/romana-bus/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp
# Agents and NATS are root, with few capabilities: see deploy/base.
USER 65532:65532
ENTRYPOINT ["romana-bus"]
