"""Trains on two processes with DistributedDataParallel over gloo; rank 0 alone makes the W&B run.

torchrun --standalone --nproc-per-node=2 train.py
"""

import argparse
import os

import torch
import torch.distributed as dist
import wandb
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


def parse_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=6)
    return parser.parse_args()


def make_data(rows, generator):
    features = torch.randn(rows, 8, generator=generator)
    return features, (features[:, :1] * features[:, 1:2]).tanh() + features[:, 2:3]


def main():
    args = parse_args()
    if "RANK" not in os.environ:  # started as `python train.py`: one process, rank 0 of 1
        os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    if rank == 0:
        wandb.init(project="ddp", config=vars(args))

    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    train = TensorDataset(*make_data(1024, generator))
    val_x, val_y = make_data(256, generator)
    sampler = DistributedSampler(train, seed=0)
    loader = DataLoader(train, batch_size=args.batch_size, sampler=sampler)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1)))
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=args.momentum)
    loss_of = nn.MSELoss()

    for epoch in range(args.epochs):
        sampler.set_epoch(epoch)
        for features, target in loader:
            optimizer.zero_grad()
            loss_of(model(features), target).backward()
            optimizer.step()
        with torch.no_grad():
            loss = loss_of(model(val_x), val_y)
        dist.all_reduce(loss)
        if rank == 0:
            wandb.log({"epoch": epoch, "val/loss": loss.item() / dist.get_world_size()})
    if rank == 0:
        wandb.finish()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
