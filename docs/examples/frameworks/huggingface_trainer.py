"""A Hugging Face Trainer whose steps are private; its loop, optimizer, scheduler, evaluation and checkpoints stay.

Run it with: python docs/examples/frameworks/huggingface_trainer.py
"""

import tempfile
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
)

from accountants import Ledger
from dpkit import FlatClip
from dpkit.batches import PoissonBatches
from dpkit.training import Loader, Privatizer, check


class PrivateTrainer(Trainer):
    """A Trainer that loads the records of each draw itself, since its own loaders read ahead of the release."""

    def __init__(self, *args, private, plan, micro_batch, **kwargs):
        super().__init__(*args, **kwargs)
        self.private, self.plan = private, plan
        self.draws = iter(Loader(private, self.train_dataset, micro_batch=micro_batch, collate_fn=self.data_collator))

    def get_train_dataloader(self):
        return DataLoader([{"step": step} for step in range(self.plan.steps)])  # numbers of steps, no records

    def training_step(self, model, inputs, num_items_in_batch=None):
        model.train()
        for part in next(self.draws):
            self.private.backward(losses(model, self._prepare_inputs(part)))
        self.private.release()
        return torch.zeros((), device=self.args.device)  # what the Trainer logs; the loss of a batch is not protected


class SavePrivate(TrainerCallback):
    """Puts the Privatizer's state into each checkpoint of the Trainer."""

    def __init__(self, private):
        self.private = private

    def on_save(self, args, state, control, **kwargs):
        torch.save(self.private.state_dict(), Path(args.output_dir) / f"checkpoint-{state.global_step}" / "private.pt")


def losses(model, part):
    """One loss for each example. Positions are given to each example: without that the model looks them up once."""
    rows, length = part["input_ids"].shape
    positions = torch.arange(length, device=part["input_ids"].device).expand(rows, length)
    logits = model(input_ids=part["input_ids"], position_ids=positions).logits
    return cross_entropy(logits, part["labels"], reduction="none")


def make(folder, records, steps):
    """Model, plan and ledger, and a Trainer of them."""
    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    model, ledger = BertForSequenceClassification(config), Ledger(relation="add_remove", unit="sentence")
    plan = PoissonBatches(len(records), 0.2, steps=steps)
    private = Privatizer(
        model, clip=FlatClip(1.0), noise_multiplier=1.0, expected_batch_size=40, sampling=plan, ledger=ledger
    )
    arguments = TrainingArguments(
        folder, num_train_epochs=1, save_steps=5, logging_steps=5, max_grad_norm=0.0, report_to=[], use_cpu=True
    )
    trainer = PrivateTrainer(
        model,
        arguments,
        train_dataset=records,
        callbacks=[SavePrivate(private)],
        private=private,
        plan=plan,
        micro_batch=16,
    )
    return trainer, private, ledger


if __name__ == "__main__":
    torch.manual_seed(1)
    records = [{"input_ids": torch.randint(50, (8,)), "labels": number % 2} for number in range(200)]
    with tempfile.TemporaryDirectory() as folder:
        trainer, private, ledger = make(folder, records, steps=10)
        print(check(trainer.model, losses, default_data_collator(records[:8])))
        trainer.train()
        print(ledger.statement(delta=1e-5))
        assert (len(ledger), trainer.state.global_step) == (10, 10)
        half = Path(folder) / "checkpoint-5"  # as if the run had ended there, before anybody saw more of it
        again, private, ledger = make(folder, records, steps=10)
        private.load_state_dict(torch.load(half / "private.pt", weights_only=True))
        again.train(resume_from_checkpoint=str(half))
        assert (len(ledger), again.state.global_step) == (10, 10)
