"""Scales, ticks and paths: what is drawn must be where the number is."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.report import plots
from loadgen.report.markup import Markup
from loadgen.report.plots import Dot, linear_scale, log_scale, make_frame

sizes = st.floats(1e-6, 1e9)


def frame() -> plots.Frame:
    """x 0 … 10 and y 0 … 100 on whole pixels: 10 px a unit of x, 1 px a unit of y, y upside down."""
    x = plots.Scale(0, 10, 100, 200, (0, 5, 10))
    return plots.Frame(x, plots.Scale(0, 100, 200, 100, (0, 50, 100)))


def path_of(markup: Markup) -> str:
    found = re.search(r' d="([^"]*)"', markup)
    assert found is not None
    return found[1]


def test_linear_ticks_are_round_and_start_at_zero() -> None:
    assert linear_scale([3, 17.5], 0, 1).ticks == (0, 5, 10, 15, 20)
    assert linear_scale([0.0, 0.3], 0, 1).ticks == pytest.approx((0, 0.1, 0.2, 0.3))
    assert linear_scale([4519], 0, 1).ticks == (0, 1000, 2000, 3000, 4000, 5000)


def test_a_tight_scale_ends_where_the_values_end() -> None:
    scale = linear_scale([0, 62.5], 0, 100, count=7, tight=True)
    assert (scale.low, scale.high) == (0, 62.5)
    assert scale.ticks == (0, 10, 20, 30, 40, 50, 60)


def test_log_ticks_are_decades_or_parts_of_them() -> None:
    assert log_scale([30, 56_000], 0, 1).ticks == pytest.approx((10, 100, 1000, 10_000, 100_000))
    assert log_scale([1.6, 58], 0, 1).ticks == pytest.approx((1, 3, 10, 30, 100))
    assert log_scale([12, 40], 0, 1).ticks == pytest.approx((10, 20, 50))


def test_doubling_rates_are_their_own_ticks_and_lie_evenly() -> None:
    rates = [1.0, 2.0, 4.0, 8.0, 16.0]
    scale = log_scale(rates, 0, 100, at=rates)
    places = [scale(rate) for rate in rates]
    gaps = [right - left for left, right in pairwise(places)]
    assert scale.ticks == tuple(rates)
    assert gaps == pytest.approx([gaps[0]] * 4)


@pytest.mark.parametrize("values", [[], [None], [0.0], [0, 0], [7.0, 7.0], [-3.0], [1e-300], [1e12]])
@pytest.mark.parametrize("scale", [linear_scale, log_scale])
def test_any_values_give_a_scale(values: plots.Values, scale: object) -> None:
    made = scale(values, 0, 100)  # type: ignore[operator]
    assert made.low < made.high
    assert len(made.ticks) >= 1
    assert 0 <= made(0.0) <= 100


@given(st.lists(sizes, min_size=1, max_size=20))
def test_every_value_is_inside_the_scale_and_in_order(values: list[float]) -> None:
    for scale in (linear_scale(values, 0, 100), log_scale(values, 0, 100)):
        assert scale.low <= min(scale.ticks)
        assert max(scale.ticks) <= scale.high * (1 + 1e-9)
        assert len(scale.ticks) <= 10
        places = [scale(value) for value in sorted(values)]
        assert places == sorted(places)
        if min(values) > 1e-6:
            assert scale.low * (1 - 1e-6) <= max(values) <= scale.high * (1 + 1e-6)


@given(sizes, sizes)
def test_equal_ratios_are_equal_distances_on_a_log_scale(low: float, ratio: float) -> None:
    ratio = 1 + ratio % 10
    scale = log_scale([low, low * ratio * ratio], 0, 100)
    first, second, third = (scale(low * ratio**k) for k in range(3))
    assert second - first == pytest.approx(third - second, abs=1e-6)


def test_a_value_outside_is_drawn_on_the_rim() -> None:
    assert frame().x(11) == 200
    assert frame().x(-1) == 100


def test_a_line_breaks_where_a_value_is_missing() -> None:
    drawn = plots.line(frame(), [0, 1, 2, 3, 4], [0, 50, None, 50, 100], "s0")
    assert path_of(drawn) == "M100 200L110 150M130 150L140 100"


def test_a_step_holds_its_value_to_the_next_edge() -> None:
    drawn = plots.step(frame(), [0, 1, 2, 3, 4, 5], [10, 10, 30, None, 50], "s0")
    assert path_of(drawn) == "M100 190H120V170H130M140 150H150"


def test_bars_stand_on_zero_and_nothing_is_drawn_for_zero() -> None:
    assert path_of(plots.bars(frame(), [0, 1, 2], [0, 30], "s1")) == "M110 200V170H120V200Z"


def test_a_band_goes_up_one_side_and_down_the_other() -> None:
    drawn = plots.band(frame(), [0, 1, 2, 3], [10, 20, None, 20], [30, 40, 50, 60], "s0")
    assert path_of(drawn) == "M100 170L110 160L110 180L100 190Z"


def test_whiskers_span_the_interval() -> None:
    assert path_of(plots.whiskers(frame(), [1, 2], [10, None], [30, 30], "s0")) == "M110 190V170"


def test_a_dot_says_its_tip_without_javascript() -> None:
    drawn = plots.dots(frame(), [Dot(1, 50, "8 req/s <b>", hollow=True)], "s0")
    assert "<title>8 req/s &lt;b&gt;</title>" in drawn
    assert 'cx="110" cy="150"' in drawn
    assert "hollow" in drawn


@pytest.mark.parametrize(("low", "high"), [(0, 0.2), (9.9, 10), (4, 6), (5, 5)])
def test_the_label_of_an_upright_stays_in_the_picture(low: float, high: float) -> None:
    wide = make_frame(lambda a, b: linear_scale([0, 10], a, b), lambda a, b: linear_scale([0, 1], a, b))
    text = "saturates at 22.6 req/s"
    drawn = plots.upright(wide, low, high, text, "saturation")
    middle = float(re.search(r'<text x="([0-9.]+)"', drawn)[1])  # type: ignore[index]
    half = 6.3 * len(text) / 2
    assert wide.x.start <= middle - half + 0.1
    assert middle + half <= plots.WIDTH + 0.1


def test_the_frame_leaves_room_for_its_labels() -> None:
    narrow = make_frame(lambda a, b: linear_scale([0, 1], a, b), lambda a, b: linear_scale([0, 9], a, b))
    wide = make_frame(
        lambda a, b: linear_scale([0, 1], a, b),
        lambda a, b: linear_scale([0, 9], a, b),
        y_label=lambda _: "1,000,000 ms",
    )
    assert wide.x.start > narrow.x.start + 50


def test_labels_of_the_x_axis_never_run_into_each_other() -> None:
    crowded = plots.Frame(
        plots.Scale(0, 1, 40, 446, tuple(k / 50 for k in range(51))), frame().y, lambda v: f"{v:.4f} ms"
    )
    drawn = plots.chart(crowded, [], name="n", x_title="x", y_title="y")
    group = re.search(r'<g text-anchor="middle">(.*?)</g>', drawn)
    assert group is not None
    places = [float(place) for place in re.findall(r'x="([0-9.]+)"', group[1])]
    assert min(b - a for a, b in pairwise(places)) >= 6.3 * len("0.0000 ms")
    assert len(places) > 3


def test_a_chart_says_its_name_and_its_axes() -> None:
    drawn = plots.chart(frame(), [], name="TTFT & co", x_title="req/s", y_title="ms")
    assert 'aria-label="TTFT &amp; co"' in drawn
    assert ">req/s</text>" in drawn
    assert ">ms</text>" in drawn
    assert [tick in drawn for tick in (">0<", ">50<", ">100<")] == [True] * 3


def test_a_legend_shows_each_series_once() -> None:
    drawn = plots.legend([("s0", "p50"), ("s1", "p99")])
    assert drawn.count("<svg") == 2
    assert 'data-toggle="p99"' in drawn
