"""Augmentation: what each parameter does to a batch, that it is seeded, and what it never does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.augment import Augment, mixup, oversample, rare_windows
from model.config import Config

B, T, C = 40, 16, 6
NOTHING = {
    "feature_dropout": 0.0,
    "noise_std": 0.0,
    "shift_max": 0,
    "scale_range": 0.0,
    "cutout_rows": 0,
    "time_warp": 0.0,
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(seed: int = 1) -> torch.Tensor:
    return torch.randn(B, T, C, generator=seeded(seed))


def augmented(
    x: torch.Tensor, seed: int = 0, present: torch.Tensor | None = None, **keys: object
) -> torch.Tensor:
    present = torch.ones(len(x), x.shape[2], dtype=torch.bool) if present is None else present
    return Augment(Config.from_dict({**NOTHING, **keys}), seeded(seed))(x.clone(), present)


EACH = {
    "noise": {"noise_std": 0.1},
    "shift": {"shift_max": 3},
    "scale": {"scale_range": 0.2},
    "time_warp": {"time_warp": 0.3},
    "cutout": {"cutout_rows": 4},
}
PROBABILITY = {
    "noise": "noise",
    "shift": "shift",
    "scale": "scale",
    "time_warp": "time_warp",
    "cutout": "cutout",
}


def test_with_everything_off_a_batch_stays_as_it_is() -> None:
    x = batch()
    assert torch.equal(augmented(x), x)


@pytest.mark.parametrize("name", EACH)
def test_probability_is_the_share_of_windows_changed(name: str) -> None:
    x = torch.randn(600, T, C, generator=seeded())

    def changed(probability: float) -> float:
        y = augmented(x, **EACH[name], **{f"{PROBABILITY[name]}_probability": probability})
        return (y != x).flatten(1).any(1).float().mean().item()

    assert changed(0.0) == 0
    assert changed(1.0) > 0.8  # a shift by 0 rows changes nothing
    assert changed(0.3) == pytest.approx(0.3 * changed(1.0), abs=0.06)


@pytest.mark.parametrize("name", [*EACH, "everything"])
def test_the_same_seed_gives_the_same_batch_and_another_seed_another(name: str) -> None:
    keys = EACH[name] if name in EACH else {k: v for each in EACH.values() for k, v in each.items()}
    assert torch.equal(augmented(batch(), 3, **keys), augmented(batch(), 3, **keys))
    assert not torch.equal(augmented(batch(), 3, **keys), augmented(batch(), 4, **keys))


def test_it_works_in_place_on_the_batch_it_is_given() -> None:
    x = batch()
    augment = Augment(Config(), seeded())
    assert augment(x, torch.ones(B, C, dtype=torch.bool)).data_ptr() == x.data_ptr()


@pytest.mark.parametrize("std", [0.005, 0.05])
def test_noise_has_the_standard_deviation_asked_for(std: float) -> None:
    x = torch.zeros(500, T, C)
    y = augmented(x, noise_std=std, noise_probability=1.0)
    assert y.std() == pytest.approx(std, rel=0.05) and abs(y.mean()) < std / 10
    assert not torch.equal(y[0], y[1])


def test_absent_channels_stay_zero_whatever_is_on() -> None:
    present = torch.rand(B, C, generator=seeded()) < 0.5
    x = batch() * present[:, None, :]
    y = augmented(
        x, present=present, feature_dropout=0.3, **{k: v for e in EACH.values() for k, v in e.items()}
    )
    assert (y.transpose(1, 2)[~present] == 0).all()


@pytest.mark.parametrize("limit", [1, 3])
def test_shift_moves_rows_by_up_to_its_maximum_and_repeats_the_edge(limit: int) -> None:
    x = torch.arange(T, dtype=torch.float32)[None, :, None].repeat(300, 1, C)
    y = augmented(x, shift_max=limit, shift_probability=1.0)
    seen = set()
    for window in y[..., 0]:
        by = int(window[T // 2] - T // 2)
        assert torch.equal(window, (torch.arange(T) + by).clamp(0, T - 1).float())
        seen.add(by)
    assert seen == set(range(-limit, limit + 1))


def test_scale_multiplies_a_window_by_one_number_within_its_range() -> None:
    y = augmented(torch.ones(400, T, C), scale_range=0.2, scale_probability=1.0)
    assert torch.equal(y, y[:, :1, :1].expand_as(y))
    assert 0.8 <= y.min() < 0.82 and 1.18 < y.max() <= 1.2


def test_feature_dropout_silences_a_channel_for_the_whole_window() -> None:
    y = augmented(torch.ones(500, T, C), feature_dropout=0.4, feature_dropout_rescale=False)
    assert torch.equal(y, y[:, :1].expand_as(y))
    assert y.mean() == pytest.approx(0.6, abs=0.03)


def test_feature_dropout_rescale_keeps_the_mean() -> None:
    y = augmented(torch.ones(500, T, C), feature_dropout=0.4, feature_dropout_rescale=True)
    assert y.mean() == pytest.approx(1.0, abs=0.05)


def test_board_dropout_silences_boards_whole_and_clears_their_mask() -> None:
    boards = torch.tensor([0, 0, 1, 1, -1, -1])
    present = torch.ones(500, C, dtype=torch.bool)
    config = Config.from_dict({**NOTHING, "board_dropout": 0.3})
    y = Augment(config, seeded(), boards=boards)(torch.ones(500, T, C), present)
    assert torch.equal(y[:, 0] != 0, present)
    assert torch.equal(present[:, 0], present[:, 1]) and torch.equal(present[:, 2], present[:, 3])
    assert present[:, 4:].all()
    assert present[:, 0].float().mean() == pytest.approx(0.7, abs=0.07)


@pytest.mark.parametrize("rows", [1, 5, 99])
def test_cutout_silences_so_many_successive_rows(rows: int) -> None:
    y = augmented(torch.ones(60, T, C), cutout_rows=rows, cutout_probability=1.0)
    silent = (y == 0).all(2)
    assert torch.equal(silent, (y == 0).any(2))
    assert (silent.sum(1) == min(rows, T)).all()
    assert (silent.int().diff(dim=1).abs().sum(1) <= 2).all()


def test_time_warp_gives_each_window_a_speed_that_also_changes_within_it() -> None:
    spare = 16
    x = torch.arange(T + 2 * spare, dtype=torch.float32)[None, :, None].repeat(300, 1, C)
    config = Config.from_dict({**NOTHING, "time_warp": 0.4, "time_warp_probability": 1.0})
    y = Augment(config, seeded())(x, torch.ones(300, C, dtype=torch.bool), spare=spare)[..., 0]
    assert y.shape == (300, T)
    assert torch.allclose(
        y[:, T // 2 - 1 : T // 2 + 1].mean(dim=1), torch.tensor(spare + (T - 1) / 2), atol=0.1
    )
    speed = y.diff(dim=1)
    assert 0.59 < speed.min() < 0.7 and 1.3 < speed.max() < 1.41
    assert speed.mean(dim=1).min() < 0.7 and speed.mean(dim=1).max() > 1.3
    assert (speed.amax(dim=1) - speed.amin(dim=1)).max() > 0.5


def test_time_warp_of_a_constant_changes_nothing() -> None:
    x = torch.full((20, T, C), 3.0)
    assert torch.allclose(augmented(x, time_warp=0.5, time_warp_probability=1.0), x)


def test_mixup_mixes_each_window_with_its_partner_by_the_share() -> None:
    x, present = batch(), torch.ones(B, C, dtype=torch.bool)
    mixed = x.clone()
    mixture = mixup(mixed, present, alpha=9.0, generator=seeded())
    assert mixture is not None
    expected = mixture.share * x + (1 - mixture.share) * x[mixture.partner]
    assert torch.allclose(mixed, expected, atol=1e-6)
    assert sorted(mixture.partner.tolist()) == list(range(B))


def test_mixup_alpha_decides_how_even_the_mixture_is() -> None:
    def evenness(alpha: float) -> float:
        generator, present = seeded(), torch.ones(2, 1, dtype=torch.bool)
        found = [mixup(torch.zeros(2, 1, 1), present, alpha=alpha, generator=generator) for _ in range(200)]
        return float(np.mean([min(m.share, 1 - m.share) if m else 0.0 for m in found]))

    assert 0 < evenness(0.1) < 0.12 < evenness(0.8) < evenness(20) < 0.5


@pytest.mark.parametrize("alpha", [0.0, 1e-6])
def test_mixup_that_would_hardly_mix_touches_nothing(alpha: float) -> None:
    x = batch()
    kept = x.clone()
    assert mixup(x, torch.ones(B, C, dtype=torch.bool), alpha=alpha, generator=seeded()) is None
    assert torch.equal(x, kept)


def test_mixup_counts_a_channel_of_either_window_as_present() -> None:
    present = torch.tensor([[True, False], [False, True]])
    for seed in range(9):
        mask = present.clone()
        mixture = mixup(torch.zeros(2, 1, 2), mask, alpha=9.0, generator=seeded(seed))
        assert mixture is not None and torch.equal(mask, present | present[mixture.partner])


def test_two_rare_of_ten_three_times_are_fourteen() -> None:
    index = np.arange(100, 110)
    rare = np.isin(index, [103, 107])
    more = oversample(index, rare, 3)
    assert len(more) == 14
    assert (more == 103).sum() == (more == 107).sum() == 3


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 5))
def test_oversampling_keeps_every_window_and_repeats_only_the_rare(rare: list[bool], factor: int) -> None:
    index = np.arange(len(rare))
    mask = np.array(rare, dtype=bool)
    counts = np.bincount(oversample(index, mask, factor), minlength=len(rare))
    assert (counts == np.where(mask, factor, 1)).all()


def test_rare_windows_hold_a_value_seldom_seen() -> None:
    pad, command, common, seldom = 0, 1, 2, 3
    tokens = np.array([[command, common]] * 8 + [[common, seldom], [command, pad]])
    is_value = np.array([False, False, True, True])
    assert rare_windows(tokens, is_value, share=0.1).tolist() == [False] * 8 + [True, False]


def test_where_all_values_are_equally_common_none_is_rare() -> None:
    tokens, is_value = np.array([[0], [1], [2]]), np.ones(3, dtype=bool)
    assert not rare_windows(tokens, is_value, share=0.5).any()
    assert not rare_windows(tokens, np.zeros(3, dtype=bool), share=0.5).any()


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_never_makes_fewer_windows_rare(values: list[int], a: float, b: float) -> None:
    tokens, is_value = np.array(values)[:, None], np.ones(7, dtype=bool)
    low, high = sorted((a, b))
    fewer, more = (rare_windows(tokens, is_value, share=s) for s in (low, high))
    assert not (fewer & ~more).any()
