"""A Lightning module whose steps are private; the Lightning Trainer, its callbacks and its checkpoints stay.

Run it with: python docs/examples/frameworks/lightning_module.py
"""

import tempfile
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from accountants import Ledger
from dpkit import FlatClip
from dpkit.batches import PoissonBatches
from dpkit.training import Loader, Privatizer


class PrivateModule(LightningModule):
    """A module that optimizes by itself, and loads the records of each draw itself."""

    def __init__(self, model, private, plan, dataset, micro_batch):
        super().__init__()
        self.automatic_optimization = False
        self.model, self.private, self.plan = model, private, plan
        self.draws = iter(Loader(private, dataset, micro_batch=micro_batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.model.parameters(), lr=0.5, momentum=0.9)

    def train_dataloader(self):
        return DataLoader(range(self.plan.steps))  # numbers of steps, no records: no draw is made ahead

    def training_step(self, _, index):
        for inputs, labels in next(self.draws):
            losses = cross_entropy(self.model(inputs.to(self.device)), labels.to(self.device), reduction="none")
            self.private.backward(losses)
        self.private.release()
        self.optimizers().step()

    def on_save_checkpoint(self, checkpoint):
        checkpoint["private"] = self.private.state_dict()

    def on_load_checkpoint(self, checkpoint):
        self.private.load_state_dict(checkpoint["private"])


def make(dataset, steps):
    """A module with its plan, and its ledger."""
    model, ledger = torch.nn.Linear(5, 2), Ledger(relation="add_remove", unit="example")
    plan = PoissonBatches(len(dataset), 0.2, steps=steps)
    private = Privatizer(
        model, clip=FlatClip(1.0), noise_multiplier=1.0, expected_batch_size=100, sampling=plan, ledger=ledger
    )
    return PrivateModule(model, private, plan, dataset, micro_batch=32), ledger


def trainer(folder, steps):
    """Lightning's own; it writes a checkpoint at the end of fit."""
    return Trainer(
        max_steps=steps,
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


if __name__ == "__main__":
    torch.manual_seed(1)
    inputs = torch.randn(500, 5)
    dataset = TensorDataset(inputs, (inputs.sum(1) > 0).long())
    with tempfile.TemporaryDirectory() as folder:
        module, ledger = make(dataset, steps=20)
        first = trainer(folder, 10)
        first.fit(module)
        first.save_checkpoint(Path(folder) / "half.ckpt")
        again, ledger = make(dataset, steps=20)
        trainer(folder, 20).fit(again, ckpt_path=Path(folder) / "half.ckpt")
        print(ledger.statement(delta=1e-5))
        assert len(ledger) == 20
        accuracy = (again.model(inputs).argmax(1) == dataset.tensors[1]).float().mean()
        print(f"accuracy {accuracy:.2f}")
        assert accuracy > 0.8
