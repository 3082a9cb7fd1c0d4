"""What training workers exchange, in two processes of torch's gloo."""

import json
import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from tests.ports import free_port
from tests.unit import models
from torch import Tensor

from diffusiontalker.objectives import losses
from diffusiontalker.training import objectives, workers

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
        "total": workers.total(torch.tensor([1.0 + rank])).tolist(),
    }  # fmt: skip
    Path(folder, f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def test_two_workers_have_loss_and_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    weight, rows, labels = examples()
    weight.requires_grad_()
    whole = enhancer_loss(weight, rows, labels)
    whole.backward()
    assert weight.grad is not None
    residual = residual_of(slice(None))
    mp.start_processes(work, (free_port(), str(tmp_path)), nprocs=2, start_method="spawn")
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found["total"] == [3.0]
        assert found["loss"] == pytest.approx(whole.item(), rel=1e-6)
        assert torch.tensor(found["gradient"]).allclose(weight.grad, atol=1e-6)
        assert found["residual"] == pytest.approx(residual, rel=1e-5)
