"""Why trials end."""

from tuner.base.endings import kind_of


def test_trials_that_fail_in_the_same_way_are_of_one_kind_whatever_their_scripts_printed() -> None:
    said = "the script never logged 'a' (it logged: nothing); it printed {}, which this reads: metrics_from"
    assert kind_of(said.format("'epoch 2 lr=0.36 tag=c'")) == kind_of(said.format('"it\'s epoch 7 tag=d"'))
    assert kind_of("no file x1") == kind_of("no file x2") != kind_of("no folder x2")
