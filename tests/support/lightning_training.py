"""A training of Lightning's Trainer."""

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from watched_training import data, network


class Module(pl.LightningModule):
    """A module whose network is an attribute, as most are."""

    def __init__(self):
        super().__init__()
        self.net = network()

    def training_step(self, batch, index):
        x, y = batch
        loss = F.cross_entropy(self.net(x), y)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.05, momentum=0.9)


class TwoOptimizers(Module):
    """Steps two optimizers by hand in every batch."""

    automatic_optimization = False

    def training_step(self, batch, index):
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, index))
            optimizer.step()

    def configure_optimizers(self):
        halves = self.net[:4], self.net[4:]
        return [torch.optim.SGD(half.parameters(), 0.05) for half in halves]


def trainer(folder, *callbacks, epochs=2, **options):
    options = {"accumulate_grad_batches": 2, "devices": 1, **options}
    keeping = ModelCheckpoint(folder / "checkpoints", filename="{epoch}", save_top_k=-1)
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[*callbacks, keeping],
        logger=CSVLogger(folder),
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def fit(folder, *callbacks, kind=Module, checkpoint=None, **options):
    """Train on 80 samples in batches of 8, two of them accumulated, and return the module and its Trainer."""
    torch.manual_seed(0)
    module = kind()
    x, y = data(80)
    training = trainer(folder, *callbacks, **options)
    training.fit(module, DataLoader(TensorDataset(x, y), 8, shuffle=True), ckpt_path=checkpoint)
    return module, training
