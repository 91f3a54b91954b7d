# Four images from one file: api, workers, migrate, commands. Each holds its own distribution, what
# that needs, and nothing else.
#   docker build --target api -t halftone-api .
# Another base with the same Python works too: --build-arg PYTHON_IMAGE=…
ARG PYTHON_IMAGE=python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS build
RUN python -m pip install --no-cache-dir --root-user-action=ignore uv==0.13.9
WORKDIR /src
ENV UV_PROJECT_ENVIRONMENT=/app \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never \
    UV_NO_CACHE=1
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

FROM build AS build-workers
RUN uv sync --frozen --no-dev --no-editable --package halftone-workers

FROM build AS build-migrate
RUN uv sync --frozen --no-dev --no-editable --package halftone-db

FROM build AS build-commands
RUN uv sync --frozen --no-dev --no-editable --package halftone

FROM ${PYTHON_IMAGE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="halftone" \
      org.opencontainers.image.description="Makes the images of product catalogues smaller" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The storage volume is made with this owner, so that API and workers may both use it.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin halftone \
    && install --directory --owner halftone --group halftone /storage
ENV PATH=/app/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /
STOPSIGNAL SIGTERM

FROM runtime AS api
COPY --from=build-api /app /app
ENV HALFTONE_API_HOST=0.0.0.0
EXPOSE 8000
# http.client knows no proxy: a check of our own must not go through one of the environment.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import http.client, sys; api = http.client.HTTPConnection('127.0.0.1', 8000, timeout=2); api.request('GET', '/healthz'); sys.exit(api.getresponse().status != 200)"]
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
