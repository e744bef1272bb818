# The image of yummy-fast: the program, its dependencies, and nothing that built them. docs/deploy.md says how to run
# it, .ci/image builds it and tries it out where no container engine runs.
#
# The first stage makes a virtual environment, the second copies it. Both must come from one base image: the environment
# links to the base's interpreter. The second stage runs no command, so whatever a build mounts to reach its package
# index (pip.conf, certificates) cannot end up in the image.

# With on-demand feature views, best the Python that ran `feast apply`: any other must make do with their source.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build

# Without pip: it has no business in the image, and the base's pip can install from outside.
RUN python -m venv --without-pip /opt/yummy-fast

# For the native room, which must not be left out for want of a compiler. The second stage has none.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
ENV YUMMY_FAST_NATIVE=1

# The tools of the build, in an environment of their own. Every file that is downloaded, here and below, must have the
# hash that locks/ has of it (`make locks` writes it).
WORKDIR /src
COPY locks locks
RUN python -m venv /build && /build/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r locks/build.txt

# What the program needs: base; transforms, for on-demand feature views; all, which also has registries in S3, GCS and
# databases, and OpenTelemetry. --build-arg LOCK=transforms
ARG LOCK=base
RUN pip --python /opt/yummy-fast/bin/python install --no-cache-dir --no-compile --require-hashes --only-binary :all: \
    -r "locks/$LOCK.txt"

COPY pyproject.toml setup.py README.md LICENSE ./
COPY yummy_fast yummy_fast
RUN /build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . && \
    pip --python /opt/yummy-fast/bin/python install --no-compile --no-deps --no-index /wheels/*.whl

# What is in it, with versions and licenses: docker run --rm --entrypoint cat yummy-fast /opt/yummy-fast/sbom.cdx.json
RUN /build/bin/cyclonedx-py environment --output-reproducible --output-file /opt/yummy-fast/sbom.cdx.json \
    /opt/yummy-fast/bin/python

# Feast's Helm chart and operator start `feast serve ...`. Only the image has this name: a wheel with it would overwrite
# Feast's own command where both are installed.
RUN ln -s yummy-fast /opt/yummy-fast/bin/feast

# Bytecode is written now: the image runs as a user who could not, perhaps on a read-only file system. That of the
# standard library too, since the official image comes without; it halves the time to start. It lies in a tree of its
# own, so that it is copied with the rest, and is taken as it is (unchecked-hash), since nothing changes in an image.
RUN python -X pycache_prefix=/opt/yummy-fast/pycache -m compileall -q --invalidation-mode unchecked-hash \
    -x '/(tests?|idlelib|lib2to3|tkinter|turtledemo|ensurepip|distutils|(site|dist)-packages/(pip|setuptools))/' \
    "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" /opt/yummy-fast/lib


FROM python:${PYTHON}-slim-bookworm

ARG PYTHON
ARG VERSION=0.1.0
# --build-arg REVISION=$(git rev-parse HEAD)
ARG REVISION=unknown
LABEL org.opencontainers.image.title="yummy-fast" \
      org.opencontainers.image.description="A fast feature server for Feast" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/python:${PYTHON}-slim-bookworm"

COPY --from=build /opt/yummy-fast /opt/yummy-fast

# The default address, 127.0.0.1, could not be reached from outside the container. Both variables are the program's own
# settings: they stand above feature_store.yaml, and flags stand above them.
ENV PATH=/opt/yummy-fast/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPYCACHEPREFIX=/opt/yummy-fast/pycache \
    PYTHONUNBUFFERED=1 \
    YUMMY_FAST_HOST=0.0.0.0 \
    YUMMY_FAST_PORT=6566

# Where the Feast repository (feature_store.yaml, and a registry that lies beside it) is mounted.
WORKDIR /repo

# By number, so that Kubernetes' runAsNonRoot can see that it is not root. It owns nothing and needs no home.
USER 65532:65532

EXPOSE 6566
STOPSIGNAL SIGTERM

# /health is about the registry, as in Feast: 200 once the server can answer, whatever the online store does.
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s CMD ["python", "-c", "\
import http.client, os; \
server = http.client.HTTPConnection('127.0.0.1', int(os.environ['YUMMY_FAST_PORT']), timeout=2); \
server.request('GET', '/health'); \
exit(server.getresponse().status != 200)"]

ENTRYPOINT ["yummy-fast"]
CMD ["serve"]
