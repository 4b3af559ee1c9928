# Serves, and with PACKAGES=train also trains. See docs/deploying.md.
# `make pin-base` adds the digest.
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE} AS base
ENV PATH=/opt/venv/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore

# Torch has its own layer, and no package layer depends on the code, so new code does not reinstall packages.
FROM base AS packages
# Index for torch, such as https://download.pytorch.org/whl/cpu or .../cu126; empty: pip's own index.
ARG TORCH_INDEX_URL=
# serve or train: selects the lists of packages in deploy/.
ARG PACKAGES=serve
WORKDIR /build
COPY deploy/torch-*.txt .
# Without the base image's pip: nothing in the image installs packages at run time.
RUN python -m venv --without-pip /opt/venv \
 && pip --python /opt/venv install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} -r "torch-$PACKAGES.txt"
COPY deploy/requirements-*.txt .
# --force-reinstall replaces torch's dependencies, installed above, by files with known hashes.
RUN pip --python /opt/venv install --require-hashes --no-deps --force-reinstall -r "requirements-$PACKAGES.txt" \
 && pip --python /opt/venv check
# Remove files for compiling against torch, since the image has no compiler, and the packages' own tests.
RUN cd /opt/venv/lib/python3*/site-packages \
 && rm -r torch/include torch/share torch/bin/protoc* \
 && find networkx numpy sympy -type d -name tests -prune -exec rm -r {} +

FROM base AS wheel
WORKDIR /build
COPY deploy/requirements-build.txt .
RUN pip install --require-hashes --no-deps -r requirements-build.txt
COPY . .
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .
RUN --mount=type=bind,from=packages,source=/opt/venv,target=/opt/venv \
    cyclonedx-py environment --output-reproducible --pyproject pyproject.toml --output-file /sbom.cdx.json /opt/venv

FROM base
COPY --from=packages /opt/venv /opt/venv
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip --python /opt/venv install --no-deps /wheels/*.whl
WORKDIR /app
COPY --from=wheel /sbom.cdx.json /app/
# A named volume inherits the owner of this folder.
RUN install -d -o 10001 -g 10001 runs
# Home and name are set here, so that any user can run the image, even without an entry in /etc/passwd (`--user`).
ENV HOME=/tmp \
    USER=glow \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# Ignores a proxy set in the environment.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-I", "-c", "from urllib.request import ProxyHandler, build_opener; build_opener(ProxyHandler({})).open('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["glow"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
# Last, so that a new revision does not rebuild the layers above. `make image` sets REVISION and CREATED.
ARG BASE_IMAGE
ARG VERSION=0.2.0
ARG REVISION=
ARG CREATED=
LABEL org.opencontainers.image.title="glow-app" \
      org.opencontainers.image.description="Exact-likelihood image generation with Glow: serves a model" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="$BASE_IMAGE" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
