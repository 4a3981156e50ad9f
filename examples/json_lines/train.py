"""Fits y = 3x by gradient descent and prints its metrics as JSON lines; needs nothing but Python."""

import argparse
import json


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--decay", type=float, default=0.0)
    parser.add_argument("--epochs", type=int, default=9)
    args = parser.parse_args()

    print("fitting …")  # any other output is no metric, and is kept in output.log
    weight = 0.0
    for epoch in range(args.epochs):
        weight += args.lr * (3 - weight) - args.decay * weight
        print(json.dumps({"epoch": epoch, "val/loss": (3 - weight) ** 2}), flush=True)


if __name__ == "__main__":
    main()
