# The image of the chart: what the lock file pins, by its hashes, and nothing that builds or tests it.
# The Python is the one that the tests run on.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 SOURCE_DATE_EPOCH=315532800
COPY requirements.lock requirements.image.lock ./
RUN python -m venv --without-pip /tools
RUN python -m pip --python /tools/bin/python install --quiet --require-hashes -r requirements.lock
RUN python -m venv --without-pip /app
RUN python -m pip --python /app/bin/python install --quiet --no-compile --require-hashes -r requirements.image.lock
COPY pyproject.toml README.md LICENSE ./
COPY rollout rollout
COPY strategies strategies
RUN /tools/bin/python -m hatchling build --target wheel --directory /wheel
RUN python -m pip --python /app/bin/python install --quiet --no-compile --no-deps --no-index /wheel/*.whl
# Of the Kubernetes client we use what sends requests; its class for each API and its asynchronous twin are half of all.
RUN rm -r /app/lib/python*/site-packages/kubernetes/aio /app/lib/python*/site-packages/kubernetes/client/api
# Bytecode that depends on the source alone: nothing can be written where it runs, and two builds are alike. Forced,
# for pip has left some that tells its time. The client's thousand models are never imported.
RUN /app/bin/python -m compileall -q -f -j 0 --invalidation-mode unchecked-hash -x '/kubernetes/client/models/' /app/lib

FROM python:${PYTHON}-slim
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["/app/bin/rollout"]
