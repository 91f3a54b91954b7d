# Four images from one file: api, workers, migrate, commands. Each holds its own distribution and what that needs, and nothing else.
#   docker build --target api -t halftone-api .

FROM python:3.13-slim-bookworm AS build
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /src
ENV UV_PROJECT_ENVIRONMENT=/app \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never
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

FROM python:3.13-slim-bookworm AS runtime
# The storage volume is made with this owner, so that API and workers may both use it.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin halftone \
    && install --directory --owner halftone --group halftone /storage
ENV PATH=/app/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /

FROM runtime AS api
COPY --from=build-api /app /app
ENV HALFTONE_API_HOST=0.0.0.0
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
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
