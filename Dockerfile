# One image for all: a server of the student that ships (its default), every job, every node of a Ray
# cluster. docker build -t diffusiontalker:0.1.0 .
#   --build-arg DEVICE=cuda           for GPUs (training, and replicas.provider: cuda)
#   --build-arg TORCH_INDEX=ADDRESS   where PyTorch's builds for CPUs are; without it the image for CPUs
#                                     holds PyTorch's CUDA libraries, too, which are several GB
ARG DEVICE=cpu

FROM node:22-slim AS page
WORKDIR /web
COPY web/package.json web/package-lock.json ./
RUN npm ci --omit=dev --no-audit --no-fund
COPY web ./

FROM python:3.11-slim AS wheel
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY platform platform
RUN PIP_CONSTRAINT=constraints.txt pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim AS environment
ARG DEVICE
ARG TORCH_INDEX
ENV PIP_NO_CACHE_DIR=1 PIP_CONSTRAINT=/constraints.txt
RUN python -m venv /opt/talker
ENV PATH=/opt/talker/bin:$PATH
COPY constraints.txt /constraints.txt
# Versions are pinned by the constraints, below too.
# hadolint ignore=DL3013
RUN if [ "$DEVICE" = cpu ] && [ -n "$TORCH_INDEX" ]; then pip install --index-url "$TORCH_INDEX" torch; fi
COPY --from=wheel /wheels /wheels
# redis: for limits.storage.
# hadolint ignore=DL3013
RUN pip install "$(echo /wheels/*.whl)[platform]" redis
# The same release of ONNX Runtime, with its providers cuda and tensorrt.
RUN if [ "$DEVICE" = cuda ]; then \
        version="$(sed -n 's/^onnxruntime==//p' /constraints.txt)" \
        && pip uninstall --yes onnxruntime && pip install --no-deps "onnxruntime-gpu==$version"; \
    fi

FROM python:3.11-slim
# KubeRay's probes, and the one below, call wget.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/*
COPY --from=environment /opt/talker /opt/talker
WORKDIR /app
COPY jobs jobs
COPY serve serve
COPY configs configs
COPY --from=page /web web

# The root may be read-only: what is written lies in /tmp, /home/talker, /dev/shm (Ray's object store)
# and, without another `output` and `identities`, in /app/runs. A number, because runAsNonRoot cannot
# check a name.
RUN useradd --create-home --uid 1000 talker && install -d -o talker -g talker runs
USER 1000
ENV PATH=/opt/talker/bin:$PATH \
    HOME=/home/talker \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=serve.middleware:middlewares \
    RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD=0 \
    RAY_USAGE_STATS_ENABLED=0 \
    RAY_worker_niceness=0

EXPOSE 8000
HEALTHCHECK --start-period=120s --interval=10s --timeout=5s \
    CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8000/readyz"]
CMD ["serve", "run", "configs/serve/local.yaml"]
