"""The hook: what a callback sees, when it is computed, and how it ends a solve."""

import numpy as np
import pytest

import deconv
from deconv.progress import report


def test_without_a_callback_there_is_nothing_to_tell():
    assert report(None, 3, lambda x: x) is None


def test_the_callback_sees_what_it_is_told():
    states = []
    tell = report(states.append, 5, lambda x: x)
    assert tell(1, "x") is False
    assert tell(5, "x", 0.25, "n_iter=5 reached") is False
    first, last = states
    assert (first.iteration, first.n_iter, first.stopped) == (1, 5, None)
    assert (last.iteration, last.n_iter, last.stopped) == (5, 5, "n_iter=5 reached")


def test_image_and_objective_are_computed_once_and_only_if_asked_for():
    finished, valued = [], []

    def finish(x):
        finished.append(x)
        return x + 1

    def objective():
        valued.append(True)
        return 0.5

    report(lambda state: None, None, finish)(1, 10, objective)
    assert not finished and not valued

    def ask(state):
        assert state.n_iter is None
        assert (state.image, state.image) == (11, 11)
        assert (state.objective, state.objective) == (0.5, 0.5)

    report(ask, None, finish)(1, 10, objective)
    assert finished == [10] and valued == [True]


@pytest.mark.parametrize("objective", [None, 0.25, lambda: 0.25, lambda: None])
def test_an_objective_is_a_number_a_function_or_nothing(objective):
    seen = []
    report(lambda state: seen.append(state.objective), 1, lambda x: x)(1, 0, objective)
    assert seen == [objective() if callable(objective) else objective]


def test_what_was_asked_for_in_time_remains():
    states = []

    def ask(state):
        states.append(state)
        assert (state.image, state.objective) == (7, 2.0)

    report(ask, 1, lambda x: x)(1, 7, lambda: 2.0)
    assert (states[0].image, states[0].objective) == (7, 2.0)


def test_what_is_asked_for_too_late_is_refused():
    states = []
    tell = report(states.append, 2, lambda x: x)
    tell(1, 7, lambda: 2.0)
    with pytest.raises(RuntimeError, match=r"state\.image was first asked for after its callback"):
        states[0].image  # noqa: B018
    with pytest.raises(RuntimeError, match=r"state\.objective was first asked for after"):
        states[0].objective  # noqa: B018
    # A number needs no picture.
    tell(2, 8, 0.25)
    assert states[1].objective == 0.25
    with pytest.raises(RuntimeError, match=r"state\.image"):
        states[1].image  # noqa: B018


def test_a_psf_is_made_once_and_only_if_asked_for():
    made, states = [], []

    def psf():
        made.append(True)
        return [0.5, 0.5]

    def ask(state):
        states.append(state)
        if state.iteration == 2:
            assert state.psf is state.psf

    tell = report(ask, 3, lambda x: x)
    tell(1, 0, psf=psf)
    assert not made
    tell(2, 0, psf=psf)
    assert made == [True] and states[1].psf == [0.5, 0.5]
    with pytest.raises(RuntimeError, match=r"state\.psf was first asked for after its callback"):
        states[0].psf  # noqa: B018


def test_where_the_psf_is_given_there_is_none_to_tell():
    seen, states = [], []
    tell = report(lambda state: seen.append(state.psf), 1, lambda x: x)
    assert tell(1, 0) is False and seen == [None]
    image = np.eye(16)
    deconv.tv(image, deconv.psf.gaussian(1.0), n_iter=2, callback=lambda s: states.append(s.psf))
    deconv.richardson_lucy(
        image, deconv.psf.gaussian(1.0), n_iter=2, callback=lambda s: states.append(s.psf)
    )
    assert len(states) == 4 and set(states) == {None}


def test_stop_iteration_ends_it_and_other_errors_pass():
    def stop(state):
        if state.iteration == 2:
            raise StopIteration

    tell = report(stop, 3, lambda x: x)
    assert [tell(k, 0) for k in (1, 2)] == [False, True]

    def fail(state):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        report(fail, 3, lambda x: x)(1, 0)


def test_a_state_is_not_to_be_changed():
    def change(state):
        state.iteration = 3

    with pytest.raises(AttributeError):
        report(change, 3, lambda x: x)(1, 0)
