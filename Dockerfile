# The image of every node of a Ray cluster: package, jobs, the application without its page, settings.
FROM python:3.11-slim

# KubeRay's injected probes call wget.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY platform platform
RUN PIP_CONSTRAINT=constraints.txt pip install --no-cache-dir '.[platform]'

COPY jobs jobs
COPY serve serve
COPY configs configs

# A number, because runAsNonRoot cannot check a name. The user owns /app, where runs/ is written.
RUN useradd --create-home --uid 1000 talker && chown talker:talker /app
USER 1000
ENV PYTHONUNBUFFERED=1

CMD ["python", "jobs/distill.py", "--help"]
