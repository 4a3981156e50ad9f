"""Reads digits with scikit-learn's MLPClassifier. Without arguments it has scikit-learn's defaults."""

import argparse
import json
import warnings

from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hidden", type=int, default=100)
    parser.add_argument("--activation", default="relu")
    parser.add_argument("--alpha", type=float, default=0.0001)
    parser.add_argument("--learning-rate", type=float, default=0.001)
    parser.add_argument("--batch-size", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    images, digits = load_digits(return_X_y=True)
    train_x, val_x, train_y, val_y = train_test_split(
        images, digits, train_size=400, stratify=digits, random_state=args.seed
    )
    model = MLPClassifier(
        hidden_layer_sizes=(args.hidden,),
        activation=args.activation,
        alpha=args.alpha,
        learning_rate_init=args.learning_rate,
        batch_size=args.batch_size,
        random_state=args.seed,
    )
    warnings.simplefilter("ignore", ConvergenceWarning)
    model.fit(train_x, train_y)
    print(json.dumps({"accuracy": model.score(val_x, val_y)}))


if __name__ == "__main__":
    main()
