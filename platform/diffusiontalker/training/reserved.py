"""What a training stage reserves of a cluster, and what it waits for."""

from collections.abc import Mapping

from diffusiontalker.config import Settings
from diffusiontalker.training.ray_data import READER_CPUS


def reserved(settings: Settings) -> dict[str, float]:
    """Ray's resources for the workers of a stage, or its one process, and for reading its data."""
    resources, workers = settings.resources, max(settings.training.workers, 1)
    need = {"CPU": workers * resources.worker_cpus + READER_CPUS}
    if resources.gpu:
        need["GPU"] = workers * resources.gpus_per_worker
    return need


def shortage(
    settings: Settings, cluster: Mapping[str, float], free: Mapping[str, float]
) -> str | None:
    """What a stage has to wait for; None: it fits at once.

    Args:
        settings: of the run.
        cluster: all resources by name, as Ray reports them.
        free: those that nobody uses.
    """
    for kind, need in reserved(settings).items():
        there, now = cluster.get(kind, 0.0), free.get(kind, 0.0)
        if need > there:
            return (
                f"waits for {need:g} {kind}s, where the cluster has {there:g}: until nodes join; "
                "or lower training.workers"
            )
        if need > now:
            return f"waits for {need:g} {kind}s, of which {now:g} are free now"
    return None
