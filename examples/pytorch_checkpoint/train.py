"""A PyTorch script that goes on where it was interrupted; without the tuner it keeps its state here."""

import argparse
import json
import os
from pathlib import Path

import torch

parser = argparse.ArgumentParser()
parser.add_argument("--learning_rate", type=float, default=0.1)
parser.add_argument("--epochs", type=int, default=20)
options = parser.parse_args()

torch.set_num_threads(1)
torch.manual_seed(0)
x = torch.randn(256, 3)
y = x @ torch.tensor([[1.0], [-2.0], [0.5]])
model = torch.nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=options.learning_rate, momentum=0.9)
begin = 0

state = Path(os.environ.get("TUNER_CHECKPOINT_DIR", "."), "state.pt")  # 1. where the state is kept
if state.exists():  # 2. an interrupted trial of this configuration has left it: go on from there
    found = torch.load(state, weights_only=True)
    model.load_state_dict(found["model"])
    optimizer.load_state_dict(found["optimizer"])
    torch.set_rng_state(found["random"])
    begin = found["epochs"]
    print(f"goes on after {begin} epochs")

for epoch in range(begin, options.epochs):
    for batch in torch.randperm(len(x)).split(32):
        loss = torch.nn.functional.mse_loss(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    beside = state.with_suffix(".new")  # 3. written beside and renamed, before the epoch is reported
    torch.save(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "epochs": epoch + 1,
        },
        beside,
    )
    beside.replace(state)
    print(json.dumps({"epoch": epoch, "loss": loss.item()}), flush=True)
