"""A Lightning script that goes on where it was interrupted; without the tuner it keeps its state here."""

import argparse
import json
import os
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

LAST = Path(os.environ.get("TUNER_CHECKPOINT_DIR", "."), "last.ckpt")  # 1. where the state is kept


class Regressor(L.LightningModule):
    def __init__(self, lr):
        super().__init__()
        self.lr = lr
        self.model = nn.Linear(8, 1)

    def training_step(self, batch, batch_index):
        features, target = batch
        return nn.functional.mse_loss(self.model(features), target)

    def validation_step(self, batch, batch_index):
        features, target = batch
        self.log("val/loss", nn.functional.mse_loss(self.model(features), target))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


class KeepAndReport(Callback):
    """After an epoch: keeps the whole state, then reports. Lightning validates before an epoch has ended."""

    def on_train_epoch_end(self, trainer, module):
        beside = LAST.with_suffix(".new")  # 3. written beside and renamed, before the epoch is reported
        trainer.save_checkpoint(beside, weights_only=False)
        beside.replace(LAST)
        loss = trainer.callback_metrics["val/loss"].item()
        print(json.dumps({"epoch": trainer.current_epoch, "val/loss": loss}), flush=True)


def make_data(rows, generator):
    features = torch.randn(rows, 8, generator=generator)
    return TensorDataset(features, features[:, :1] - 0.5 * features[:, 1:2])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()
    L.seed_everything(0)
    generator = torch.Generator().manual_seed(0)
    if LAST.exists():
        print("goes on from", LAST)
    trainer = L.Trainer(
        max_epochs=args.epochs,
        callbacks=[KeepAndReport()],
        logger=False,
        accelerator="cpu",
        enable_checkpointing=False,  # Lightning's own would write beside the script
        enable_progress_bar=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(
        Regressor(args.lr),
        DataLoader(make_data(256, generator), batch_size=32, shuffle=True),
        DataLoader(make_data(64, generator), batch_size=64),
        ckpt_path=LAST if LAST.exists() else None,  # 2. an interrupted trial has left it: go on from there
    )


if __name__ == "__main__":
    main()
