"""What training workers exchange, in two processes of torch's gloo."""

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from tests.ports import free_port
from tests.unit import models, resume
from torch import Tensor, nn

from diffusiontalker.config import LossSettings, TrainSettings
from diffusiontalker.objectives import losses
from diffusiontalker.training import objectives, workers
from diffusiontalker.training.optimization import Optimization

ROWS = (3, 2)
"""Examples of each worker."""


def test_one_worker_exchanges_nothing() -> None:
    rows = torch.rand(3, 2)
    assert workers.gather(rows) is rows
    assert workers.total(rows) is rows


def enhancer_loss(weight: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
    """A contrastive loss in the batch, as L_pc is one."""
    upper, own, same = (workers.gather(x) for x in (rows, rows @ weight, labels))
    return losses.pc(own, upper, 0.5, objectives.same_labels(same))


def examples() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(sum(ROWS), 4, generator=generator)
    labels = torch.tensor([[0], [1], [0], [1], [2]])
    return torch.randn(4, 4, generator=generator), rows, labels


def residual_of(rows: slice) -> list[float]:
    """Residual variance after a step on some of the examples of a batch."""
    torch.manual_seed(0)
    talker, batch = models.talker(), models.batch((20, 14, 9, 16, 12))
    talker.residual_variance.fill_(0.5)
    batch = {key: value[rows] for key, value in batch.items()}
    condition = models.listen(talker, batch)
    x_0 = talker.standardise(batch["coefficients"])
    objectives.track_residual(talker, x_0, condition, batch["mask"][..., None], keep=0.5)
    return talker.residual_variance.tolist()


def as_ray_train(task: nn.Module) -> nn.Module:
    """DDP with the arguments of ``ray_train.wrap_ddp``."""
    return nn.parallel.DistributedDataParallel(task, static_graph=True)


def trained_teacher(rank: int) -> str:
    """A hash of the weights after some steps of the teacher, each worker with examples of its
    own."""
    torch.manual_seed(0)
    task = objectives.TeacherObjective(models.talker(), LossSettings())
    own = Optimization(task, as_ray_train(task), TrainSettings())
    generator = torch.Generator().manual_seed(rank)
    for step in range(3):
        task.train()
        own.step(models.batch(seed=10 * step + rank), generator, 0.5)
    found = hashlib.sha256()
    for parameter in task.parameters():
        found.update(parameter.detach().numpy().tobytes())
    return found.hexdigest()


def work(rank: int, port: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    own = slice(0, ROWS[0]) if rank == 0 else slice(ROWS[0], None)
    weight, rows, labels = examples()
    weight.requires_grad_()
    loss = enhancer_loss(weight, rows[own], labels[own])
    loss.backward()
    assert weight.grad is not None
    gradient = workers.total(weight.grad) / 2  # as DDP
    found = {
        "loss": loss.item(), "gradient": gradient.tolist(), "residual": residual_of(own),
        "teacher": trained_teacher(rank),
        "total": workers.total(torch.tensor([1.0 + rank])).tolist(),
    }  # fmt: skip
    Path(folder, f"{rank}.json").write_text(json.dumps(found))
    resume.every_resume_agrees(Path(folder, "resume"), rank, wrap=as_ray_train, every=4)
    dist.destroy_process_group()


def test_two_workers_have_loss_and_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    """And resume a run exactly, within an epoch too."""
    weight, rows, labels = examples()
    weight.requires_grad_()
    whole = enhancer_loss(weight, rows, labels)
    whole.backward()
    assert weight.grad is not None
    residual = residual_of(slice(None))
    mp.start_processes(work, (free_port(), str(tmp_path)), nprocs=2, start_method="spawn")
    teachers = set()
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        teachers.add(found["teacher"])
        assert found["total"] == [3.0]
        assert found["loss"] == pytest.approx(whole.item(), rel=1e-6)
        assert torch.tensor(found["gradient"]).allclose(weight.grad, atol=1e-6)
        assert found["residual"] == pytest.approx(residual, rel=1e-5)
    assert len(teachers) == 1
    whole, rest = (tmp_path / "resume" / name for name in ("whole/0-3", "rest-1/0-2"))
    assert resume.sha256(whole) == resume.sha256(rest)
