"""Weightings of K members: pure functions from tables of log-probabilities to weights per member and head.

    single      the member with the most exact lines
    uniform     1/K
    em          maximum likelihood of the mixture: w ← w · mean(p / mix), concave, so its optimum is global
    em_shrunk   half-way from there to uniform
    greedy      with replacement, best prefix of at most 25 rounds (Caruana et al., ICML 2004); ties by NLL
    log_linear  maximum likelihood of the normalised weighted geometric mean, convex in w on the simplex

em and later ones are fitted for each head and for all heads together (shared). The weights of a head are
shrunk toward the shared ones, which count as `PRIOR_POSITIONS` positions of that head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from ensemble.bundle import Pooling
from ensemble.tables import Table, Tables, log_sum_exp

PRIOR_POSITIONS = 1000  # target positions of a head that the shared weights count as (about 150 windows)
GREEDY_ROUNDS = 25
OVER_RELAXATION = 1.9
NEGLIGIBLE = 0.1  # of an equal share; smaller weights become 0, as each member costs latency
UNIFORM = "uniform"


@dataclass(frozen=True)
class Weighting:
    """The result of a method: one (K,) vector on the simplex per head, and the pooling."""

    method: str
    pooling: Pooling
    heads: Mapping[str, np.ndarray]
    shared: np.ndarray

    def without(self, member: int) -> Weighting:
        """A copy with weight 0 for one member, renormalised (uniform over the others if they had none)."""
        return Weighting(
            self.method,
            self.pooling,
            {head: _without(weights, member) for head, weights in self.heads.items()},
            _without(self.shared, member),
        )

    @property
    def used(self) -> np.ndarray:
        """Indices of the members with a weight in any head."""
        return np.flatnonzero(np.stack([*self.heads.values(), self.shared]).max(axis=0) > 0)

    def of_members(self, members: np.ndarray) -> Weighting:
        """The weights of some members, renormalised."""
        return Weighting(
            self.method,
            self.pooling,
            {head: weights[members] / weights[members].sum() for head, weights in self.heads.items()},
            self.shared[members] / self.shared[members].sum(),
        )


def fit(method: str, tables: Tables) -> Weighting:
    """The weights of `method` (a key of `METHODS`), fitted on `tables`."""
    return METHODS[method](tables)


def fit_all(methods: Sequence[str], tables: Tables) -> dict[str, Weighting]:
    """`fit` of several methods; EM runs once for all."""
    found: dict[str, Weighting] = {}
    for method in methods:
        known = method == "em_shrunk" and "em" in found
        found[method] = _shrunk(found["em"]) if known else fit(method, tables)
    return found


def uniform(tables: Tables) -> Weighting:
    """Every member alike."""
    return _same_for_all(UNIFORM, tables, np.full(tables.members, 1 / tables.members))


def single(tables: Tables) -> Weighting:
    """The member with the most exact lines; ties by likelihood."""
    one_hot = np.eye(tables.members)
    scores = []
    for weights in one_hot:
        heads = dict.fromkeys(tables.heads, weights)
        exact = int(tables.exact(heads, pooling="mixture").sum())
        scores.append((exact, -float(tables.nll(heads, pooling="mixture").sum())))
    return _same_for_all("single", tables, one_hot[max(range(len(scores)), key=scores.__getitem__)])


def em(tables: Tables) -> Weighting:
    """Maximum likelihood of the mixture, per head."""
    return _per_head("em", "mixture", tables, lambda several: em_weights(_gold(several)))


def em_shrunk(tables: Tables) -> Weighting:
    """Half-way between `em` and uniform: EM tends to drop members that help on other recordings."""
    return _shrunk(em(tables))


def _shrunk(found: Weighting) -> Weighting:
    even = 1 / len(found.shared)
    heads = {head: (weights + even) / 2 for head, weights in found.heads.items()}
    return Weighting("em_shrunk", "mixture", heads, (found.shared + even) / 2)


def greedy(tables: Tables) -> Weighting:
    """Greedy selection with replacement by accuracy, per head."""
    return _per_head("greedy", "mixture", tables, greedy_weights)


def log_linear(tables: Tables) -> Weighting:
    """Maximum likelihood of log-linear pooling, per head."""
    return _per_head("log_linear", "log_linear", tables, log_linear_weights)


METHODS: dict[str, Callable[[Tables], Weighting]] = {
    "single": single,
    UNIFORM: uniform,
    "em": em,
    "em_shrunk": em_shrunk,
    "greedy": greedy,
    "log_linear": log_linear,
}


def em_weights(gold: np.ndarray, *, tolerance: float = 1e-4, rounds: int = 5000) -> np.ndarray:
    """Weights (K,) that maximise mean log(w·p) for log-probabilities `gold` (K, N) of the targets.

    Stops within `tolerance` nats per position of the optimum: by concavity the gap is at most
    log(max over k of mean(p_k / mix)). The default, one nat over 10,000 positions, is below what they can
    distinguish. Steps are over-relaxed, which converges for factors below 2 (Peters and Walker, SIAM J. Appl.
    Math. 1978) in half the rounds.
    """
    members, positions = gold.shape
    weights = np.full(members, 1 / members)
    if positions == 0:
        return weights
    p = np.exp(gold - gold.max(axis=0))
    for _ in range(rounds):
        ratio = p @ (1 / np.maximum(weights @ p, 1e-300)) / positions
        if ratio.max() <= 1 + tolerance:
            break
        weights = weights * ratio**OVER_RELAXATION
        weights /= weights.sum()
    return weights


def greedy_weights(tables: Sequence[Table], *, rounds: int = GREEDY_ROUNDS) -> np.ndarray:
    """Weights by greedy selection with replacement, to maximise the number of right positions.

    Each round adds the member that makes the pool best (ties: higher likelihood). The best prefix of rounds
    is kept; weights are counts divided by rounds.
    """
    members = tables[0].members
    contests = [table.contest.p for table in tables]  # (K, c, m)
    slots = [table.contest.slot for table in tables]
    p = np.exp(_gold(tables))  # (K, N)
    sums = [np.zeros_like(contest[0]) for contest in contests]
    gold_sum = np.zeros(p.shape[1])
    picks: list[int] = []
    best, best_score = 1, (-1, -np.inf)
    for size in range(1, rounds + 1):
        right = np.zeros(members, dtype=np.int64)
        for contest, total, slot in zip(contests, sums, slots, strict=True):
            right += ((contest + total).argmax(axis=-1) == slot).sum(axis=-1)
        likelihood = np.log(np.maximum((p + gold_sum) / size, 1e-300)).sum(axis=-1)
        pick = max(range(members), key=lambda k: (int(right[k]), round(float(likelihood[k]), 9)))
        picks.append(pick)
        for contest, total in zip(contests, sums, strict=True):
            total += contest[pick]
        gold_sum += p[pick]
        score = (int(right[pick]), float(likelihood[pick]))
        if score > best_score:
            best, best_score = size, score
    return np.bincount(picks[:best], minlength=members) / best


def log_linear_weights(tables: Sequence[Table]) -> np.ndarray:
    """Weights (K,) on the simplex with the largest likelihood of softmax(Σ w_k log p_k); convex, SLSQP."""
    gold = _gold(tables)
    members, positions = gold.shape
    even = np.full(members, 1 / members)
    if members == 1 or positions == 0:
        return even
    blocks = [block.log_p for table in tables for block in table.blocks]
    mean_gold = gold.mean(axis=1)

    def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = -float(weights @ mean_gold), -mean_gold.copy()
        for log_p in blocks:
            pooled = np.tensordot(weights.astype(np.float32), log_p, axes=1)  # (n, v)
            total = log_sum_exp(pooled)
            value += float(total.sum(dtype=np.float64)) / positions
            posterior = np.exp(pooled - total[:, None]).ravel()
            gradient += log_p.reshape(members, -1) @ posterior / positions
        return value, gradient

    found = minimize(
        objective,
        even,
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * members,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(members)},
        options={"maxiter": 50, "ftol": 1e-6},
    )
    return _normalised(np.clip(found.x, 0, None))


def _per_head(
    method: str, pooling: Pooling, tables: Tables, solve: Callable[[Sequence[Table]], np.ndarray]
) -> Weighting:
    """Fits all heads together and each head, and shrinks the latter toward the former."""
    shared = _normalised(solve(list(tables.heads.values())))
    heads = {}
    for head, table in tables.heads.items():
        positions = len(table.position)
        own = solve([table]) if positions else shared
        heads[head] = _normalised(
            (positions * own + PRIOR_POSITIONS * shared) / (positions + PRIOR_POSITIONS)
        )
    return Weighting(method, pooling, heads, shared)


def _same_for_all(method: str, tables: Tables, weights: np.ndarray) -> Weighting:
    return Weighting(method, "mixture", dict.fromkeys(tables.heads, weights), weights)


def _gold(tables: Sequence[Table]) -> np.ndarray:
    """(K, all positions of the tables)."""
    return np.concatenate([table.gold for table in tables], axis=1)


def _normalised(weights: np.ndarray) -> np.ndarray:
    """On the simplex, negligible weights set to zero."""
    total = weights.sum()
    if total <= 0:
        return np.full(len(weights), 1 / len(weights))
    weights = np.where(weights / total < NEGLIGIBLE / len(weights), 0.0, weights)
    return weights / weights.sum()


def _without(weights: np.ndarray, member: int) -> np.ndarray:
    others = np.arange(len(weights)) != member
    rest = np.where(others, weights, 0.0)
    if rest.sum() == 0:  # the member had all the weight
        rest = others.astype(float)
    return rest / rest.sum() if others.any() else rest
