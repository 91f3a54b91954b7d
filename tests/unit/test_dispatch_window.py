"""How many messages the dispatcher keeps in the queue, and how often it checks."""

from halftone_shared.service.dispatcher import (
    MAX_LOOK_SECONDS,
    MAX_WINDOW,
    MIN_LOOK_SECONDS,
    MIN_WINDOW,
    Window,
)


def test_emptied_queue_is_looked_at_more_often_before_more_may_wait_in_it() -> None:
    window, looks = Window(), []
    while window.size == MIN_WINDOW:
        window.filled(window.room(0), window.size)
        looks.append(window.look_seconds)
    assert looks == sorted(looks, reverse=True)
    assert looks[-1] == MIN_LOOK_SECONDS


def test_window_has_a_limit() -> None:
    window = Window()
    for _ in range(100):
        room = window.room(0)
        window.filled(room, room)
    assert window.room(0) == MAX_WINDOW


def test_window_shrinks_before_the_queue_is_looked_at_less_often() -> None:
    window = Window()
    for _ in range(8):
        room = window.room(0)
        window.filled(room, room)
    assert window.size > MIN_WINDOW
    while window.size > MIN_WINDOW:
        assert window.look_seconds == MIN_LOOK_SECONDS
        window.room(window.size)
    for _ in range(20):
        window.room(window.size)
    assert window.look_seconds == MAX_LOOK_SECONDS


def test_end_of_the_work_is_not_taken_for_fast_workers() -> None:
    window = Window()
    for _ in range(50):
        window.filled(1, window.room(0))
    assert (window.size, window.look_seconds) == (MIN_WINDOW, MAX_LOOK_SECONDS)
    assert window.room(0) == MIN_WINDOW


def test_full_queue_has_no_room() -> None:
    assert Window().room(1000) == 0


def test_requests_that_are_held_are_looked_at_less_often() -> None:
    window = Window()
    while window.look_seconds > MIN_LOOK_SECONDS:
        room = window.room(0)
        window.filled(room, room)
    for _ in range(5):
        window.filled(0, window.room(0))
    assert (window.size, window.look_seconds) == (MIN_WINDOW, MAX_LOOK_SECONDS)
