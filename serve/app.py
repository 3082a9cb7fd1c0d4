"""The Ray Serve deployment: `serve run configs/serve/local.yaml`."""

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

from diffusiontalker.errors import UserError
from diffusiontalker.runtime.student import Student
from serve.admission.access import AccessControl
from serve.admission.api_keys import VARIABLE
from serve.api import create_api
from serve.models.students import Students, warm_up
from serve.service import Service
from serve.settings import ReplicaSettings, ServeSettings

logger = logging.getLogger("ray.serve")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
OTHER_REQUESTS = 16
"""Requests that a replica answers at once beside recordings and streams: lists and probes."""


@serve.deployment(name="Student")
@serve.ingress()
class StudentReplica:
    """One process: the API, and the students that were requested of it."""

    def __init__(self, settings: dict, with_keys: bool) -> None:
        """``with_keys``: there were API keys where the application was built. Raises UserError:
        there are none where this replica runs."""
        # Behind HAProxy any caller could claim another's address by X-Forwarded-For.
        os.environ.setdefault("FORWARDED_ALLOW_IPS", "")
        validated = ServeSettings.model_validate(settings)
        folders: dict[str, str] = validated.folders()
        replicas = validated.replicas

        def read(name: str) -> Student:
            return warm_up(Student(folders[name], replicas.threads, replicas.provider))

        async def load(name: str) -> Student:
            return await asyncio.to_thread(read, name)

        load_one = serve.multiplexed(max_num_models_per_replica=validated.models_per_replica)(load)
        self.service = Service(validated, Students(validated, load_one))
        _check_keys(with_keys, self.service.access.without_keys)
        # The objects that exist by now stay. A garbage collection over all of them takes a tenth of
        # a second, in which no stream advances.
        gc.collect()
        gc.freeze()

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by ``serve.ingress`` when the replica starts."""
        return create_api(self.service)

    async def check_health(self) -> None:
        """Ray Serve replaces a replica whose students cannot be loaded."""
        await self.service.students.load(self.service.students.default.name)


def build(settings: ServeSettings) -> serve.Application:
    """The application, from `serve run serve.app:build model=FOLDER` or from a YAML file.

    Raises:
        UserError: a student or the keys cannot be used.
    """
    Students(settings)  # a mistake is raised here, in one line, rather than by a dying replica
    without_keys = AccessControl(settings).without_keys
    if without_keys:
        _warn_of_open_access(_host())
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
        # At least what may wait for a batch, so that batches fill.
        max_ongoing_requests=limits.uploads + limits.waiting + limits.streams + OTHER_REQUESTS,
        max_queued_requests=limits.waiting,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=1),
        graceful_shutdown_timeout_s=replicas.drain_seconds,
        ray_actor_options=_resources(replicas),
        logging_config=LoggingConfig(encoding="JSON", enable_access_log=False),
    ).bind(settings.model_dump(mode="json"), not without_keys)


def _resources(replicas: ReplicaSettings) -> dict[str, float]:
    """What Ray reserves for a replica: a GPU only where its provider needs one."""
    gpus = {} if replicas.provider == "cpu" else {"num_gpus": replicas.num_gpus}
    return {"num_cpus": replicas.num_cpus, **gpus}


def _check_keys(with_keys: bool, without_keys: bool) -> None:
    if with_keys and without_keys:
        raise UserError(
            f"{VARIABLE} is set where the application was built, and not where its replicas run; "
            "set it where Ray is started"
        )


def _host() -> str:
    """The address on which the server listens, or will. Does not start Ray."""
    client = None
    if ray.is_initialized():
        client = _get_global_client(raise_if_no_controller_running=False)
    options = HTTPOptions() if client is None else client.http_config
    return str(options.host)


def _warn_of_open_access(host: str) -> None:
    if host not in LOOPBACK:
        logger.warning(
            "the server listens at %s, beyond this machine, without API keys: set %s "
            "(name=key, with commas between) where Ray is started", host, VARIABLE,
        )  # fmt: skip
