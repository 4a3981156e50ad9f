"""Trains a small network on two spirals in plain PyTorch: argparse, wandb.init, wandb.config, wandb.log."""

import argparse
import math

import torch
import wandb
from torch import nn


def parse_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--hidden", type=int, default=16)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def spirals(points, generator):
    """`points` points (x, y) on two spirals, and the spiral that each is on."""
    label = torch.arange(points) % 2
    radius = torch.rand(points, generator=generator)
    angle = 2 * math.pi * radius + math.pi * label
    place = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    return place + 0.03 * torch.randn(points, 2, generator=generator), label


def main():
    wandb.init(project="spirals", config=vars(parse_args()))
    config = wandb.config
    torch.manual_seed(config.seed)

    generator = torch.Generator().manual_seed(0)
    train_x, train_y = spirals(800, generator)
    val_x, val_y = spirals(400, generator)
    model = nn.Sequential(
        nn.Linear(2, config.hidden),
        nn.ReLU(),
        nn.Linear(config.hidden, config.hidden),
        nn.ReLU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.hidden, 2),
    )
    loss_of = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)

    for epoch in range(config.epochs):
        model.train()
        for batch in torch.randperm(len(train_x)).split(32):
            optimizer.zero_grad()
            loss = loss_of(model(train_x[batch]), train_y[batch])
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            scores = model(val_x)
        accuracy = (scores.argmax(dim=1) == val_y).float().mean().item()
        wandb.log({"epoch": epoch, "val/loss": loss_of(scores, val_y).item(), "val/accuracy": accuracy})
    wandb.finish()


if __name__ == "__main__":
    main()
