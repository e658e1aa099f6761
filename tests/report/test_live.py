"""The views: a frame fits its terminal and says what matters; a pipe gets plain lines; quiet is quiet."""

import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from loadgen.clock import VirtualClock
from loadgen.progress import Progress
from loadgen.report.demo import canned_progress, canned_sweep
from loadgen.report.live import LiveView, PlainView, QuietView, Trail, choose_view, point_line
from loadgen.units import NS_PER_MS

POINTS = canned_sweep()["points"]
POINT = POINTS[-1]
PROGRESS = list(canned_progress(POINT, 7, 7))


def view_of(width: int = 80, height: int = 24) -> tuple[LiveView, io.StringIO, VirtualClock]:
    stream, clock = io.StringIO(), VirtualClock()
    return LiveView(Console(file=stream, force_terminal=True, width=width, height=height), clock), stream, clock


def frame(view: LiveView, width: int = 80, height: int = 24) -> list[str]:
    """The picture as plain lines."""
    console = Console(file=io.StringIO(), width=width, height=height)
    with console.capture() as capture:
        console.print(view.frame())
    return capture.get().splitlines()


def watched(width: int, height: int) -> LiveView:
    view, _, clock = view_of(width, height)
    with view:
        for progress in PROGRESS[:-10:10]:
            clock.advance(250 * NS_PER_MS)
            view(progress)
        for point in POINTS:
            view.point_done(point)
    return view


@pytest.mark.parametrize(("width", "height"), [(60, 20), (80, 24), (160, 50), (80, 10), (30, 8)])
def test_a_frame_fits_its_terminal(width: int, height: int) -> None:
    lines = frame(watched(width, height), width, height)
    assert max(map(len, lines)) <= width
    assert len(lines) <= max(height, 12)


def test_a_frame_says_what_matters() -> None:
    text = "\n".join(frame(watched(100, 40), 100, 40))
    last = PROGRESS[230]
    for part in ("meta-llama/Llama-3.1-8B-Instruct", "s2l  point 7 of 7", "measuring", "left", "64 asked"):
        assert part in text
    assert f"{last.in_flight:,} in flight" in text
    assert "█" in text
    assert "16 req/s" in text  # the growing table


def test_errors_are_told_by_outcome() -> None:
    view, _, _ = view_of()
    with view:
        view(replace(PROGRESS[50], failed=1203, errors={"timeout": 1200, "http_error": 3}))
        assert "timeout 1,200, http error 3" in "\n".join(frame(view))


def test_a_low_terminal_shows_the_last_points_and_counts_the_others() -> None:
    text = "\n".join(frame(watched(80, 20), 80, 20))
    assert "64 req/s" in text
    assert "before" in text


def test_at_most_four_frames_a_second_but_a_new_phase_at_once() -> None:
    view, stream, clock = view_of()
    with view:
        frames = 0
        for k in range(100):  # two seconds, a report every 20 ms
            before = len(stream.getvalue())
            view(replace(PROGRESS[20], completed=k))
            frames += len(stream.getvalue()) > before
            clock.advance(20 * NS_PER_MS)
        assert 7 <= frames <= 8
        before = len(stream.getvalue())
        view(replace(PROGRESS[20], phase="draining"))
        assert len(stream.getvalue()) > before


def test_a_view_knows_nothing_and_still_draws() -> None:
    view, _, _ = view_of()
    with view:
        view(Progress())
        text = "\n".join(frame(view))
    assert "closed loop" in text
    assert "—" in text


def test_the_live_view_leaves_nothing_behind_and_the_cursor_visible() -> None:
    view, stream, _ = view_of()
    with view:
        view(PROGRESS[10])
    assert stream.getvalue().rstrip().endswith("\x1b[2K") or "\x1b[?25h" in stream.getvalue()[-200:]


@given(st.lists(st.none() | st.floats(0, 1e6, allow_subnormal=False), max_size=1500), st.integers(1, 200))
def test_a_trail_is_bounded_and_never_wider_than_asked(values: list[float | None], width: int) -> None:
    trail = Trail()
    for value in values:
        trail.add(value)
    drawn = trail.draw(width)
    assert len(drawn) <= width
    assert set(drawn) <= set(" ▁▂▃▄▅▆▇█")
    if any(values) and len(values) < 256:
        assert "█" in drawn


def test_a_trail_keeps_the_shape_of_a_long_run() -> None:
    trail = Trail()
    for k in range(5000):
        trail.add(float(k))
    drawn = trail.draw(40)
    assert list(drawn) == sorted(drawn, key="▁▂▃▄▅▆▇█".index)
    assert drawn[0] == "▁"
    assert drawn[-1] == "█"


def test_a_pipe_gets_one_plain_line_a_point() -> None:
    stream = io.StringIO()
    with PlainView(stream) as view:
        view(PROGRESS[5])
        assert stream.getvalue() == ""
        view.point_done(POINT)
        view.point_done({})
    first, second = stream.getvalue().splitlines()
    assert first.startswith("point 1/7: 64 req/s | achieved 23.3 req/s | 4,520 tok/s | TTFT p50 36 s, p99 56.9 s | ")
    assert first.endswith("1,871 failed | server errors, saturated")
    assert second.startswith("point 2/7: closed loop | achieved —")
    assert "\x1b" not in first


def test_a_point_line_is_one_line_whatever_the_server_said() -> None:
    assert "\n" not in point_line(POINT | {"verdict": "A\nB\x1b[1m"})
    assert "\x1b" not in point_line(POINT | {"verdict": "A\nB\x1b[1m"})


def test_quiet_says_nothing() -> None:
    with QuietView() as view:
        view(PROGRESS[5])
        view.point_done(POINT)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_view_follows_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(choose_view(Terminal(), quiet=False, json=False), LiveView)
    assert isinstance(choose_view(io.StringIO(), quiet=False, json=False), PlainView)
    assert type(choose_view(Terminal(), quiet=True, json=False)) is QuietView
    assert type(choose_view(Terminal(), quiet=False, json=True)) is QuietView
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(choose_view(Terminal(), quiet=False, json=False), PlainView)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("CI", "true")
    assert isinstance(choose_view(Terminal(), quiet=False, json=False), PlainView)
