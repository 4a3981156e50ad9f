"""Spaces: nested outside, dotted inside; what is enqueued is what is suggested; conditions hold."""

import json
import math

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.base.errors import InputError
from tuner.definition.distributions import Categorical, Constant, Numeric, WeightedCategorical
from tuner.definition.loading import load_study_file, shipped
from tuner.definition.space import Parameter, Space, in_order

optuna.logging.set_verbosity(optuna.logging.ERROR)

NESTED = Space(
    (
        Parameter(("optimizer", "name"), Categorical(("adam", "sgd"))),
        Parameter(("optimizer", "momentum"), Numeric("uniform", 0.0, 0.9), when="optimizer.name == 'sgd'"),
        Parameter(("seed",), Constant(7)),
        Parameter(("width",), Numeric("q_uniform", 81, 271, 32)),
        Parameter(("heads",), Numeric("int_uniform", 4, 8)),
    ),
    requires=("width % heads == 0",),
)


def suggest(space, params):
    return space.suggest(optuna.trial.FixedTrial(params))


def test_a_configuration_is_nested_and_holds_fixed_values():
    params = {"optimizer.name": "sgd", "optimizer.momentum": 0.5, "width": 0.5, "heads": 4}
    expected = {"optimizer": {"name": "sgd", "momentum": 0.5}, "seed": 7, "width": 192, "heads": 4}
    assert suggest(NESTED, params) == expected


def test_an_inactive_parameter_is_absent():
    config = suggest(NESTED, {"optimizer.name": "adam", "width": 0.1, "heads": 4})
    assert config["optimizer"] == {"name": "adam"}


def test_a_condition_that_reads_a_later_parameter_is_put_after_it():
    first = Parameter(("a",), Categorical((1, 2)), when="b > 1")
    second = Parameter(("b",), Categorical((1, 2)))
    assert [p.name for p in in_order([first, second])] == ["b", "a"]


@pytest.mark.parametrize(
    ("conditions", "reason"),
    [
        ({"a": "b == 1", "b": "a == 1"}, "depends on itself"),
        ({"a": "c == 1", "b": None}, "'c', which is not a parameter"),
    ],
)
def test_conditions_that_cannot_be_ordered_are_named(conditions, reason):
    parameters = [Parameter((name,), Categorical((1, 2)), when=text) for name, text in conditions.items()]
    with pytest.raises(InputError, match=reason):
        in_order(parameters)


numbers = st.floats(0.001, 0.999)
distributions = st.one_of(
    st.builds(lambda a, s: Numeric("uniform", a, a + s), st.floats(-5, 5), st.floats(0.1, 9)),
    st.builds(lambda a, s: Numeric("int_uniform", a, a + s), st.integers(-9, 9), st.integers(1, 50)),
    st.builds(lambda a, s: Numeric("log_uniform_values", a, a * s), st.floats(1e-6, 10), st.floats(1.5, 1e4)),
    st.builds(lambda a, s: Numeric("inv_log_uniform", a, a + s), st.floats(-3, 3), st.floats(0.1, 5)),
    st.builds(
        lambda a, s, q: Numeric("q_uniform", a, a + s, q),
        st.floats(-5, 5),
        st.floats(1, 9),
        st.sampled_from([1, 0.5, 3]),
    ),
    st.builds(
        lambda a, s, q: Numeric("q_log_uniform_values", a, a * s, q),
        st.floats(1, 9),
        st.floats(2, 99),
        st.sampled_from([1, 2, 0.25]),
    ),
    st.builds(lambda m, s: Numeric("normal", m, s), st.floats(-5, 5), st.floats(0.1, 3)),
    st.builds(
        lambda m, s, q: Numeric("q_log_normal", m, s, q),
        st.floats(-1, 2),
        st.floats(0.1, 1),
        st.sampled_from([1, 0.5]),
    ),
    st.builds(lambda a, b: Numeric("beta", a, b), st.floats(0.5, 5), st.floats(0.5, 5)),
    st.builds(
        lambda v: Categorical(tuple(v)),
        st.lists(st.one_of(st.integers(), st.text(), st.none(), st.booleans()), min_size=1, unique_by=repr),
    ),
    st.just(WeightedCategorical(("a", 1, [2]), (0.25, 0.25, 0.5))),
)


@settings(max_examples=300, deadline=None)
@given(distribution=distributions, u=numbers)
def test_what_is_enqueued_is_what_is_suggested(distribution, u):
    """`params_for` is the inverse of `suggest`, through every transformation."""
    space = Space((Parameter(("outer", "p"), distribution),))
    config = {"outer": {"p": distribution.quantile(u)}}
    params = space.params_for(config)
    again = suggest(space, params)["outer"]["p"]
    if isinstance(again, float):
        assert math.isclose(again, config["outer"]["p"], rel_tol=1e-9, abs_tol=1e-9)
    else:
        assert json.dumps(again) == json.dumps(config["outer"]["p"])
    assert space.config_of(params) == {"outer": {"p": again}}


def test_a_value_outside_the_space_is_refused_or_brought_to_the_nearest():
    space = Space(
        (Parameter(("n",), Numeric("int_uniform", 1, 5)), Parameter(("v",), Categorical((None, 1, 2, 3))))
    )
    with pytest.raises(InputError, match="parameter 'n': expected 1 to 5, got 9"):
        space.params_for({"n": 9})
    assert space.params_for({"n": 9, "v": 4}, nearest=True) == {"n": 5, "v": 3}


def test_a_word_that_the_space_lacks_is_left_to_the_sampler():
    space = Space((Parameter(("loss",), Categorical(("focal", "plain"))),))
    assert space.params_for({"loss": "hinge"}, nearest=True) == {}


def test_values_that_python_calls_equal_stay_apart():
    space = Space((Parameter(("p",), Categorical((1, True, 1.0, "1"))),))
    for value in (1, True, 1.0, "1"):
        again = suggest(space, space.params_for({"p": value}))["p"]
        assert type(again) is type(value)


def test_violated_names_the_requirement_and_skips_what_cannot_be_judged():
    assert NESTED.violated({"width": 96, "heads": 5}) == ["width % heads == 0"]
    assert NESTED.violated({"width": 96, "heads": 4}) == []
    assert NESTED.violated({"heads": 5}) == []


def test_a_grid_leaves_out_inactive_parameters_and_ruled_out_points():
    space = Space(
        (
            Parameter(("kind",), Categorical(("a", "b"))),
            Parameter(("only_b",), Categorical((1, 2, 3)), when="kind == 'b'"),
        ),
        requires=("only_b != 2",),
    )
    assert space.grid() == [{"kind": "a"}, {"kind": "b", "only_b": 1}, {"kind": "b", "only_b": 3}]


def test_a_grid_names_the_parameter_that_has_none():
    with pytest.raises(
        InputError, match="parameter 'lr': a grid needs values, int_uniform or q_uniform, got uniform"
    ):
        Space((Parameter(("lr",), Numeric("uniform", 0.0, 1.0)),)).grid()


def test_a_grid_that_nobody_can_finish_is_refused():
    axes = tuple(Parameter((f"p{i}",), Numeric("int_uniform", 1, 100)) for i in range(4))
    with pytest.raises(InputError, match="100,000,000 points"):
        Space(axes).grid()


@pytest.mark.parametrize("name", shipped())
def test_the_defaults_lie_in_every_shipped_space(name):
    """The default configuration is trial 0, so each space must be able to give it (or its nearest)."""
    from model.config import Config

    study = load_study_file(name)
    default = Config().to_dict()
    params = study.space.params_for(default, nearest=True)
    config = {**default, **study.space.config_of(params)}
    if study.workload == "model.workload:Training" and study.method != "grid":
        assert study.space.violated(config) == []
        assert set(params) == {p.name for p in study.space.searched if p.when is None or p.name in params}
