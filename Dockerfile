# Serves and trains: docs/deploying.md tells how to build and run it.
FROM python:3.11-slim AS base
ENV PATH=/opt/venv/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore

# Torch has a layer of its own, and the other packages depend on pyproject.toml alone: new code installs none of them.
FROM base AS packages
# Where torch comes from, such as https://download.pytorch.org/whl/cpu or .../cu126; empty: from pip's own index.
ARG TORCH_INDEX_URL=
# Of pyproject.toml, separated by commas.
ARG EXTRAS=serve,demo
WORKDIR /build
# Without pip, which the base image has: nothing in the image installs packages when it runs.
RUN python -m venv --without-pip /opt/venv \
 && pip --python /opt/venv install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} torch torchvision
COPY pyproject.toml .
RUN python -c 'import sys, tomllib; \
project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
extras = filter(None, sys.argv[1].split(",")); \
optional = [one for extra in extras for one in project["optional-dependencies"][extra]]; \
print(*project["dependencies"], *optional, sep="\n")' "$EXTRAS" > requirements.txt \
 && pip --python /opt/venv install -r requirements.txt

FROM base AS wheel
WORKDIR /build
COPY . .
RUN pip wheel --no-deps --wheel-dir /wheels .

FROM base
LABEL org.opencontainers.image.title="glow-app" \
      org.opencontainers.image.description="Exact-likelihood image generation with Glow: serves a model, trains one" \
      org.opencontainers.image.licenses="MIT"
COPY --from=packages /opt/venv /opt/venv
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip --python /opt/venv install --no-deps /wheels/*.whl
WORKDIR /app
COPY configs configs
# A named volume takes its owner from here.
RUN install -d -o 10001 -g 10001 runs
# Whoever runs it, `--user` included, needs no entry in /etc/passwd: home and name are here.
ENV HOME=/tmp \
    USER=glow \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# Not through a proxy that the environment may name.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-I", "-c", "from urllib.request import ProxyHandler, build_opener; build_opener(ProxyHandler({})).open('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["glow"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
