"""Where a watched training's figures go in Lightning."""

from __future__ import annotations

from collections.abc import Mapping

from lightning.pytorch import LightningModule, Trainer


def log_scalars(trainer: Trainer, module: LightningModule, values: Mapping[str, float], step: int) -> None:
    """Hand figures to the Trainer's loggers at once, and to `Trainer.callback_metrics` where that can be done.

    `LightningModule.log` alone would drop whatever falls between two multiples of ``log_every_n_steps``, and refuses
    to work before the first step and after the last.
    """
    for logger in trainer.loggers:
        logger.log_metrics(dict(values), step=step)
    if module._current_fx_name in ("on_train_batch_end", "on_train_epoch_end"):
        module.log_dict(dict(values), logger=False, rank_zero_only=trainer.world_size > 1)
