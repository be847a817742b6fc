# One image for the service, the command line and the CronJobs. There is no Spark in it.
#   docker build --build-arg PYTHON_DIGEST=sha256:… --build-arg REVISION=$(git rev-parse HEAD) -t dxr-ingest:0.1.0 .
ARG PYTHON_VERSION=3.12
# A release names the base by its digest too; without one it is whatever the tag means on the day of the build.
ARG PYTHON_DIGEST=

FROM docker.io/library/python:${PYTHON_VERSION}-slim${PYTHON_DIGEST:+@${PYTHON_DIGEST}} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never
WORKDIR /src
# What changes rarely comes first: the dependencies stay one layer as long as their lock file does.
COPY requirements/uv.txt requirements/service.txt requirements/
RUN python -m pip install --no-cache-dir --require-hashes -r requirements/uv.txt
RUN uv venv /opt/dxr-ingest
# Bytecode is compiled now: the root will be read-only, so every start would compile all of it anew.
RUN uv pip install --python /opt/dxr-ingest --compile-bytecode --require-hashes -r requirements/service.txt
COPY requirements/dev.txt requirements/
COPY pyproject.toml README.md LICENSE ./
COPY spark_jobs spark_jobs
COPY service service
# What builds the wheel is locked as well; requirements/dev.txt has it.
RUN uv build --wheel --require-hashes --build-constraints requirements/dev.txt --out-dir /wheels
RUN uv pip install --python /opt/dxr-ingest --compile-bytecode --no-deps --no-index --find-links /wheels dxr-ingest

FROM docker.io/library/python:${PYTHON_VERSION}-slim${PYTHON_DIGEST:+@${PYTHON_DIGEST}}
ARG PYTHON_VERSION
ARG REVISION=unknown
LABEL org.opencontainers.image.title="dxr-ingest" \
      org.opencontainers.image.description="Lands Data X-Ray file metadata and classifications for Delta tables." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/python:${PYTHON_VERSION}-slim"
# Nothing is installed in a running container, so there is nothing to install with.
RUN python -m pip uninstall --yes --no-cache-dir pip \
 && install --directory --owner=10001 --group=10001 --mode=0750 /var/lib/dxr-ingest \
 && install --directory /etc/dxr-ingest
COPY --from=build /opt/dxr-ingest /opt/dxr-ingest
# The user has no entry in /etc/passwd, so its home must be said: libraries look for their own files there.
ENV PATH=/opt/dxr-ingest/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    SERVICE_HOST=0.0.0.0 \
    STATE_DIR=/var/lib/dxr-ingest
# dxr-ingest.yaml is looked for here.
WORKDIR /etc/dxr-ingest
VOLUME /var/lib/dxr-ingest
EXPOSE 8080
# As a number: Kubernetes cannot tell from a name that it is not root.
USER 10001:10001
ENTRYPOINT ["dxr-ingest"]
CMD ["serve"]
