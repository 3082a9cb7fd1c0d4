"""The student behind Ray Serve: `serve run configs/serve/local.yaml`."""

import asyncio
import gc
import logging
import os

import ray
from fastapi import FastAPI
from ray import serve
from ray.serve.config import AutoscalingConfig, BackpressureConfig, HTTPOptions
from ray.serve.context import _get_global_client
from ray.serve.schema import LoggingConfig
from serve.access import VARIABLE, Access
from serve.api import create_api
from serve.service import Service
from serve.settings import ServeSettings
from serve.students import Students, warm

from diffusiontalker.errors import UserError
from diffusiontalker.runtime.student import Student

logger = logging.getLogger("ray.serve")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
UNSEEN = 16
"""Requests beyond recordings and streams that a replica answers at once: lists and probes."""


@serve.deployment(name="Student")
@serve.ingress()
class StudentReplica:
    """One process with the students that it was asked for, and the whole API."""

    def __init__(self, settings: dict, keyed: bool) -> None:
        """Raises UserError: ``keyed``, and no keys where this replica runs."""
        # Behind HAProxy anyone could claim any address by X-Forwarded-For, and be counted for it.
        os.environ.setdefault("FORWARDED_ALLOW_IPS", "")
        asked = ServeSettings.model_validate(settings)
        served: dict[str, str] = asked.folders()
        replicas = asked.replicas

        def loaded(name: str) -> Student:
            return warm(Student(served[name], replicas.threads, replicas.provider))

        async def load(name: str) -> Student:
            return await asyncio.to_thread(loaded, name)

        load_one = serve.multiplexed(max_num_models_per_replica=asked.models_per_replica)(load)
        self.service = Service(asked, Students(asked, load_one))
        _check(keyed, self.service.access.open)
        self._settings = asked
        # What is loaded by now stays. To look through it for garbage takes a tenth of a second each
        # time, in which no stream moves.
        gc.collect()
        gc.freeze()

    def __serve_build_asgi_app__(self) -> FastAPI:
        """What ``serve.ingress`` hosts, made when the replica starts."""
        return create_api(self._settings, self.service)

    async def check_health(self) -> None:
        """Ray Serve replaces a replica whose students do not answer."""
        await self.service.students.load(self.service.students.default.name)


def build(settings: ServeSettings) -> serve.Application:
    """The application, from `serve run serve.app:build model=FOLDER` or from a YAML file.

    Raises:
        UserError: a student or the keys cannot be used.
    """
    Students(settings)  # a mistake is told here, in one line, and not by a dying replica
    anyone = Access(settings).open
    if anyone:
        _warn(_host())
    replicas, limits = settings.replicas, settings.limits
    deployment: serve.Deployment = StudentReplica  # type: ignore[assignment]
    return deployment.options(
        autoscaling_config=AutoscalingConfig(
            min_replicas=replicas.min_replicas,
            max_replicas=replicas.max_replicas,
            target_ongoing_requests=replicas.target_ongoing_requests,
            upscale_delay_s=replicas.upscale_delay_s,
            downscale_delay_s=replicas.downscale_delay_s,
        ),
        # Never below what may wait for a batch, so that batches fill.
        max_ongoing_requests=limits.uploads + limits.waiting + limits.streams + UNSEEN,
        max_queued_requests=limits.waiting,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=1),
        graceful_shutdown_timeout_s=replicas.drain_seconds,
        ray_actor_options={"num_cpus": replicas.num_cpus},
        logging_config=LoggingConfig(encoding="JSON", enable_access_log=False),
    ).bind(settings.model_dump(mode="json"), not anyone)


def _check(keyed: bool, anyone: bool) -> None:
    if keyed and anyone:
        raise UserError(
            f"{VARIABLE} is set where the application was built, and not where its replicas run; "
            "set it where Ray is started"
        )


def _host() -> str:
    """Where the server listens, or will: to ask for its controller would start a Ray."""
    client = None
    if ray.is_initialized():
        client = _get_global_client(raise_if_no_controller_running=False)
    options = HTTPOptions() if client is None else client.http_config
    return str(options.host)


def _warn(host: str) -> None:
    if host not in LOOPBACK:
        logger.warning(
            "the server listens at %s, beyond this machine, without API keys: set %s "
            "(name=key, with commas between) where Ray is started", host, VARIABLE,
        )  # fmt: skip
