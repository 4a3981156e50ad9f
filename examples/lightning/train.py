"""Trains a LightningModule whose metrics go to W&B through Lightning's own WandbLogger."""

import argparse

import lightning as L
import torch
from lightning.pytorch.loggers import WandbLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def parse_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--epochs", type=int, default=6)
    return parser.parse_args()


class Regressor(L.LightningModule):
    def __init__(self, lr, hidden, weight_decay):
        super().__init__()
        self.save_hyperparameters()
        self.model = nn.Sequential(nn.Linear(8, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def training_step(self, batch, batch_index):
        features, target = batch
        loss = nn.functional.mse_loss(self.model(features), target)
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_index):
        features, target = batch
        self.log("val/loss", nn.functional.mse_loss(self.model(features), target))

    def configure_optimizers(self):
        return torch.optim.AdamW(
            self.parameters(), lr=self.hparams.lr, weight_decay=self.hparams.weight_decay
        )


def make_data(rows, generator):
    features = torch.randn(rows, 8, generator=generator)
    return TensorDataset(features, (features[:, :1] * features[:, 1:2]).tanh() + features[:, 2:3])


def main():
    args = parse_args()
    L.seed_everything(0)
    generator = torch.Generator().manual_seed(0)
    train = DataLoader(make_data(1024, generator), batch_size=32, shuffle=True)
    val = DataLoader(make_data(256, generator), batch_size=256)

    trainer = L.Trainer(
        max_epochs=args.epochs,
        logger=WandbLogger(project="lightning"),
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(Regressor(args.lr, args.hidden, args.weight_decay), train, val)


if __name__ == "__main__":
    main()
