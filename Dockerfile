# Four images from one file: api, workers, migrate and commands. Each contains one distribution with
# its dependencies, and nothing else.
#   docker build --target api -t halftone-api .
# Builds of the same commit on the same base have the same layers (docs/how-to/operate.md, Images).
# Another base image with the same Python works too: --build-arg PYTHON_IMAGE=…
ARG PYTHON_IMAGE=python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS build
RUN python -m pip install --no-cache-dir --root-user-action=ignore uv==0.13.9
WORKDIR /src
ENV UV_PROJECT_ENVIRONMENT=/app \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never \
    UV_NO_CACHE=1 \
    UV_NO_INSTALLER_METADATA=1 \
    PYC_INVALIDATION_MODE=UNCHECKED_HASH \
    CFLAGS=-g0
COPY pyproject.toml uv.lock ./
COPY shared shared
COPY db db
COPY api api
COPY workers workers
COPY client client
COPY cli cli
COPY accelerator accelerator
COPY samples samples

FROM build AS build-api
RUN uv sync --frozen --no-dev --no-editable --package halftone-api

# The JPEG accelerator is compiled here. The workers' image gets libjpeg, which it uses, but no
# compiler.
FROM build AS build-workers
# hadolint ignore=DL3008
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends gcc libc6-dev libjpeg62-turbo-dev \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
RUN LDFLAGS=-Wl,-rpath,/app/lib \
    uv sync --frozen --no-dev --no-editable --package halftone-workers --extra jpeg \
    && install --mode 644 /usr/lib/*/libjpeg.so.62 /app/lib/

FROM build AS build-migrate
RUN uv sync --frozen --no-dev --no-editable --package halftone-db

FROM build AS build-commands
RUN uv sync --frozen --no-dev --no-editable --package halftone

FROM ${PYTHON_IMAGE} AS runtime
# A new storage volume gets this owner, so that the API and the workers can both write to it.
# SOURCE_DATE_EPOCH keeps the date of the build out of /etc/shadow.
RUN SOURCE_DATE_EPOCH=0 useradd --uid 10001 --no-create-home --no-log-init \
        --shell /usr/sbin/nologin halftone \
    && install --directory --owner halftone --group halftone /storage
ENV PATH=/app/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /
STOPSIGNAL SIGTERM
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="halftone" \
      org.opencontainers.image.description="Makes the images of product catalogues smaller" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM runtime AS api
COPY --from=build-api /app /app
ENV HALFTONE_API_HOST=0.0.0.0
EXPOSE 8000
# http.client ignores the proxy variables of the environment, as this check must.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python", "-c", \
    "import http.client, sys; \
    api = http.client.HTTPConnection('127.0.0.1', 8000, timeout=2); \
    api.request('GET', '/healthz'); \
    sys.exit(api.getresponse().status != 200)"]
CMD ["halftone-api"]

FROM runtime AS workers
COPY --from=build-workers /app /app
CMD ["halftone-worker"]

FROM runtime AS migrate
COPY --from=build-migrate /app /app
CMD ["halftone-migrate"]

FROM runtime AS commands
COPY --from=build-commands /app /app
ENTRYPOINT ["halftone"]
