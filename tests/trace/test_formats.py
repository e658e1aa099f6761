"""Each format's own meaning, on a few records of known truth."""

from pathlib import Path

import numpy as np
import pytest
from invariants import check
from sources import GOR, SERVEGEN, SOURCES, lines

from loadgen.errors import BadInputError
from loadgen.trace.formats.servegen import Window, arrivals_s, parse_lengths
from loadgen.trace.load import load_trace
from loadgen.trace.table import Edge, Trace

S, MS = 1_000_000_000, 1_000_000


def load(name: str, folder: Path, **choices: object) -> Trace:
    file, data = SOURCES[name]
    return load_bytes(file, data, folder, **choices)


def load_bytes(file: str, data: bytes, folder: Path, **choices: object) -> Trace:
    path = folder / file
    path.write_bytes(data)
    trace = load_trace(path, **choices)  # type: ignore[arg-type]
    check(trace)
    return trace


def refusal(file: str, data: bytes, folder: Path) -> str:
    with pytest.raises(BadInputError) as caught:
        load_bytes(file, data, folder)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        *(("loadgen", "loadgen"), ("azure-2023", "Azure 2023"), ("azure-2024", "Azure 2024")),
        *(("azure-2025", "Azure 2025"), ("mooncake", "Mooncake"), ("bailian", "Qwen-Bailian")),
        *(("burstgpt-1", "BurstGPT 1 or 2"), ("burstgpt-3", "BurstGPT 3"), ("lengths", "table of lengths")),
        *(("weka", "Weka"), ("tracelab", "TraceLab"), ("otel", "OpenTelemetry"), ("litellm", "LiteLLM")),
        *(("langfuse", "Langfuse"), ("helicone", "Helicone"), ("nginx", "nginx"), ("envoy", "Envoy")),
        *(("envoy-json", "Envoy"), ("goreplay", "GoReplay"), ("vllm-log", "vLLM log"), ("sharegpt", "ShareGPT")),
    ],
)
def test_a_format_is_told_by_its_beginning(name: str, told: str, tmp_path: Path) -> None:
    assert load(name, tmp_path).survey.format == told


def test_azure_times_keep_every_digit(tmp_path: Path) -> None:
    trace = load("azure-2023", tmp_path)
    assert trace.arrival_ns.tolist() == [0, 4_314_579_000]
    assert trace.zero == "2023-11-16T18:15:46.680590000".rstrip("0")  # no zone is named
    assert trace.input_tokens.tolist() == [374, 396]
    assert trace.row.tolist() == [2, 3]
    trace = load("azure-2024", tmp_path)
    assert trace.arrival_ns.tolist() == [0, 2 * 86400 * S - 9_930_000]
    assert trace.zero == "2024-05-10T00:00:00.00993Z"
    trace = load("azure-2025", tmp_path)
    assert trace.arrival_ns.tolist() == [0, 5550 * MS]
    assert "does not send: 1, in 50.0%" in trace.survey.oddities[0]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("2023-11-16 18:15:47,5", "line 3: 2 columns instead of 3"),
        ("", "line 3: TIMESTAMP is empty"),
        ("2023-11-16 18:15:4x,5,6", "line 3: TIMESTAMP '2023-11-16 18:15:4x' is no time like the first one"),
        ("2023-11-16 18:15:47+00:00,5,6", "line 3: TIMESTAMP"),
        ("2023-11-16 18:15:47,5.5,6", "line 3: ContextTokens '5.5' is no whole number"),
        ("2023-11-16 18:15:47,5,", "line 3: GeneratedTokens is empty"),
        ("2023-11-16 18:15:47,5,-6", "line 3: GeneratedTokens -6 is not within 0"),
        ('2023-11-16 18:15:47,"5,6', "line 3: ContextTokens '\"5'"),
        ("2023-11-16 18:15:47,5,\xff", "line 3"),
    ],
)
def test_a_broken_row_is_named_with_its_reason(row: str, words: str, tmp_path: Path) -> None:
    data = f"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,374,44\n{row}\n2023-11-16 18:15:48,1,1\n"
    assert words in refusal("a.csv", data.encode("latin-1"), tmp_path)


def test_steps_back_are_put_in_order_and_told(tmp_path: Path) -> None:
    rows = "".join(f"2023-11-16 18:15:{second:02d},{second},1\n" for second in (10, 30, 29, 50))
    trace = load_bytes("a.csv", b"TIMESTAMP,ContextTokens,GeneratedTokens\n" + rows.encode(), tmp_path)
    assert trace.input_tokens.tolist() == [10, 29, 30, 50]
    assert trace.survey.oddities == ["Steps back in time: 1, the largest 1 s at line 4; put in order of arrival."]


def test_a_clock_that_starts_again_is_asked_about(tmp_path: Path) -> None:
    rows = [
        {"timestamp": time, "input_length": 1, "output_length": k, "hash_ids": []}
        for k, time in enumerate((0, 9, 10, 1, 4))
    ]
    data = lines(*rows)
    assert "the clock starts again at line 4: 2 epochs" in refusal("m.jsonl", data, tmp_path)
    first, second, both = (load_bytes("m.jsonl", data, tmp_path, epoch=epoch) for epoch in (1, 2, 0))
    assert first.arrival_ns.tolist() == [0, 9 * MS, 10 * MS]
    assert second.arrival_ns.tolist() == [0, 3 * MS]
    assert second.survey.dropped == {"of another epoch": 3}
    assert both.arrival_ns.tolist() == [0, 9 * MS, 10 * MS, 10 * MS, 13 * MS]
    assert both.output_tokens.tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(BadInputError, match="2 epochs, not 3"):
        load_trace(tmp_path / "m.jsonl", epoch=3)


def test_mooncake_ids_are_chained_and_partial(tmp_path: Path) -> None:
    trace = load("mooncake", tmp_path)
    assert trace.blocks is not None
    assert (trace.blocks.size, trace.blocks.partial_last) == (512, True)
    assert [trace.blocks.of(row).tolist() for row in range(3)] == [[0, 1], [0, 2, 3], [0, 1]]
    assert (trace.session == -1).all()


def test_other_block_sizes_and_unchained_ids_are_found_and_told(tmp_path: Path) -> None:
    rows = [([7, 8], 30), ([8, 7], 17), ([7, 8, 7], 48)]
    data = lines(*({"timestamp": 0, "input_length": n, "output_length": 1, "hash_ids": ids} for ids, n in rows))
    trace = load_bytes("m.jsonl", data, tmp_path)
    assert trace.blocks is not None
    assert trace.blocks.size == 16
    assert [trace.blocks.of(row).tolist() for row in range(3)] == [[0, 1], [2, 3], [0, 1, 4]]
    assert any("16 tokens" in each for each in trace.survey.oddities)
    assert any("not chained (line 2" in each for each in trace.survey.oddities)
    data = lines({"timestamp": 0, "input_length": 5000, "output_length": 1, "hash_ids": [1, 2]})
    assert "line 1: 2 hash_ids do not fit 5,000" in refusal("m.jsonl", data, tmp_path)


def test_bailian_blocks_are_chained_by_the_reader(tmp_path: Path) -> None:
    trace = load("bailian", tmp_path)
    assert trace.arrival_ns.tolist() == [0, 9_386_000_000, 9_386_000_000]
    assert trace.blocks is not None
    assert [trace.blocks.of(row).tolist() for row in range(3)] == [[0, 1, 2], [0, 1, 3, 4], [5, 6]]
    assert trace.parent.tolist() == [-1, 0, -1]
    assert trace.session.tolist() == [0, 0, 1]
    assert any("and begin a session here: 1" in each for each in trace.survey.oddities)


def test_burstgpt_by_name_of_its_columns(tmp_path: Path) -> None:
    trace = load("burstgpt-1", tmp_path)
    assert trace.arrival_ns.tolist() == [0, 40 * S, 113 * S]
    assert trace.output_tokens.tolist() == [18, 230, 0]
    assert [trace.models[k] for k in trace.model] == ["ChatGPT", "ChatGPT", "GPT-4"]
    trace = load("burstgpt-3", tmp_path)
    assert trace.arrival_ns.tolist() == [0, 1_500_000_000, 90_250_000_000]
    assert trace.session.tolist() == [0, -1, 0]
    assert trace.duration_ns.tolist() == [43 * S, 2 * S, S]
    assert trace.parent.tolist() == [-1, -1, 0]
    assert trace.think_ns[2] == 90_250_000_000 - 43 * S


def test_weka_sub_agents_start_before_their_t_and_are_joined(tmp_path: Path) -> None:
    trace = load("weka", tmp_path)
    # parent at 0 and 24, agent at 20 − 15.5 = 4.5 and + 9, the asynchronous one at 6
    assert trace.arrival_ns.tolist() == [0, 4_500_000_000, 6 * S, 13_500_000_000, 24 * S]
    assert [trace.models[k] for k in trace.model] == ["a", "b", "b", "b", "a"]
    assert trace.parent.tolist() == [-1, 0, 0, 1, 0]
    assert trace.edge.tolist() == [Edge.NONE, *[Edge.AFTER_RESPONSE] * 4]
    assert trace.joins.tolist() == [[4, 3]]  # waits for the agent's last answer, not for the asynchronous one
    assert trace.think_ns.tolist() == [-1, 2 * S, 3_500_000_000, 8 * S, 4 * S]
    assert set(trace.session.tolist()) == {0}
    assert trace.blocks is not None
    assert (trace.blocks.size, trace.blocks.partial_last) == (64, False)


def test_ids_of_two_weka_files_never_meet(tmp_path: Path) -> None:
    data = SOURCES["weka"][1]
    (tmp_path / "a.json").write_bytes(data)
    (tmp_path / "b.json").write_bytes(data.replace(b'"id": "t"', b'"id": "u"'))
    trace = load_trace(tmp_path)
    check(trace)
    assert trace.blocks is not None
    assert len(set(trace.blocks.ids.tolist())) == 12
    assert trace.session.max() == 1
    assert any("Sessions that repeat another one, apart from the id: 1." in each for each in trace.survey.oddities)


def test_tracelab_chains_are_minted_from_prefix_lengths(tmp_path: Path) -> None:
    trace = load("tracelab", tmp_path)
    assert trace.arrival_ns.tolist() == [0, 30_787_000_000]  # the last tool result, not the first
    assert trace.duration_ns.tolist() == [9_736_000_000, 13_671_000_000]
    assert trace.blocks is not None
    first, second = trace.blocks.of(0).tolist(), trace.blocks.of(1).tolist()
    assert first == [0, 1, 2, 3, 4, 5]
    assert second == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]  # 90 // 16 blocks are shared
    assert any("50 tokens were cached when their session began" in each for each in trace.survey.oddities)


def test_spans_count_a_call_once(tmp_path: Path) -> None:
    trace = load("otel", tmp_path)
    assert trace.survey.dropped == {"no model call": 1, "holds another model call": 1}
    assert (trace.input_tokens[0], trace.output_tokens[0], trace.status[0]) == (31, 4, 500)
    assert trace.zero == "2025-10-09T08:53:21.000000002Z"
    assert trace.duration_ns.tolist() == [S]
    assert trace.texts == ["hi"]


def test_gateways_keep_what_reached_a_model(tmp_path: Path) -> None:
    trace = load("litellm", tmp_path)
    assert trace.survey.dropped == {"answered from the gateway's cache": 1, "call_type aembedding": 1}
    assert trace.arrival_ns.tolist() == [0, 5_000_001_000 - 123_456_700]
    assert trace.duration_ns.tolist() == [1_376_543_300, -1]
    assert trace.status.tolist() == [200, 500]
    trace = load("langfuse", tmp_path)
    assert (trace.input_tokens[0], trace.output_tokens[0]) == (100, 7)
    assert trace.survey.dropped == {"type SPAN": 1}
    trace = load("helicone", tmp_path)
    assert trace.input_tokens.tolist() == [105, -1]
    assert trace.output_tokens.tolist() == [6, -1]
    assert trace.status.tolist() == [200, 429]
    assert trace.session.tolist() == [0, -1]


@pytest.mark.parametrize("tokens", ["1.5", "100000001", "99999999999999999999", '"many"'])
def test_a_gateways_number_of_tokens_is_whole_and_was_possible(tokens: str, tmp_path: Path) -> None:
    row = b'{"call_type":"acompletion","startTime":1763000000,"prompt_tokens":%s,"completion_tokens":2}\n'
    data = row % b"7" + row % tokens.encode()
    if tokens == '"many"':  # what is no number at all is unknown
        assert load_bytes("l.jsonl", data, tmp_path).input_tokens.tolist() == [7, -1]
        return
    with pytest.raises(BadInputError, match=r"line 2: prompt_tokens .* is no number of tokens"):
        load_bytes("l.jsonl", data, tmp_path)


@pytest.mark.parametrize(("time", "words"), [('"noon"', "startTime is no time"), ("null", "startTime is missing")])
def test_a_gateways_time_is_one(time: str, words: str, tmp_path: Path) -> None:
    row = '{"call_type":"acompletion","startTime":%s,"prompt_tokens":7,"completion_tokens":2}\n'
    assert load_bytes("l.jsonl", (row % '"0"').encode(), tmp_path).zero == "1970-01-01T00:00:00Z"
    assert f"line 2: {words}" in refusal("l.jsonl", (row % '"0"' + row % time).encode(), tmp_path)


def test_access_logs_say_what_they_do_not_know(tmp_path: Path) -> None:
    trace = load("nginx", tmp_path)
    assert trace.survey.dropped == {"asks no model": 1, "no entry of the log's form": 1}
    assert trace.survey.rows_read == 4
    assert trace.arrival_ns.tolist() == [0, 3_250_000_000]  # 46 s − 1.25 s, and the end of what was not timed
    assert trace.zero == "2023-11-16T17:15:44.75Z"
    assert trace.status.tolist() == [200, 499]
    assert trace.input_tokens.tolist() == [-1, -1]
    assert any("whose time is that of the END: 1" in each for each in trace.survey.oddities)
    assert load("nginx", tmp_path, bytes_per_token=4.0).input_tokens.tolist() == [200, -1]
    trace = load("envoy", tmp_path)
    assert (trace.zero, trace.duration_ns.tolist()) == ("2016-04-15T20:17:00.31Z", [226 * MS])
    trace = load("envoy-json", tmp_path)
    assert (trace.input_tokens.tolist(), trace.output_tokens.tolist()) == ([33], [8])


def test_goreplay_keeps_no_header_and_reads_every_body(tmp_path: Path) -> None:
    trace = load("goreplay", tmp_path)
    assert trace.arrival_ns.tolist() == [0, 199_999_995, 499_999_995]
    assert trace.texts == ["hello there"] * 3
    assert trace.input_tokens.tolist() == [12, -1, 30]
    assert trace.output_tokens.tolist() == [3, -1, 7]
    assert trace.duration_ns.tolist() == [S, -1, 700]
    assert "secret" not in repr(trace)
    assert "record without" in refusal("x.gor", SOURCES["goreplay"][1] + b"junk" + GOR, tmp_path)


def test_goreplay_joins_answers_wherever_they_stand(tmp_path: Path) -> None:
    """Also one before its request, with a duration that no clock shows; a later answer to the same request counts."""
    answer = b"2 %s 1700000001000000005 %d\nHTTP/1.1 %d X\r\n\r\n{}" + GOR
    name, other = b"2123456789abcdef01234567", b"9123456789abcdef01234567"
    early = answer % (name, 9_999_999_999_999_999_999, 503) + answer % (other, 1, 200)
    trace = load_bytes("x.gor", early.join([b"", SOURCES["goreplay"][1]]), tmp_path)
    assert trace.status.tolist() == [200, 503, 200]
    assert trace.duration_ns.tolist() == [S, -1, 700]
    assert trace.survey.dropped == {"an answer, joined with its request": 3, "an answer without its request": 1}
    data = early + SOURCES["goreplay"][1] + answer % (name, 5, 404)
    assert load_bytes("x.gor", data, tmp_path).status.tolist() == [200, 404, 200]


def test_a_compressed_body_that_grows_too_much_is_dropped(tmp_path: Path) -> None:
    import zlib

    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = bomb.compress(b'{"prompt": "' + bytes(65 << 20)) + bomb.flush()
    head = b"1 0123456789abcdef01234567 5 0\nPOST /v1/completions HTTP/1.1\r\nContent-Encoding: gzip\r\n\r\n"
    trace = load_bytes("x.gor", head + packed + GOR + SOURCES["goreplay"][1], tmp_path)
    assert trace.survey.dropped["a body that is no JSON"] == 1


def test_vllm_logs_turn_the_year_and_count_ids(tmp_path: Path) -> None:
    trace = load("vllm-log", tmp_path)
    assert trace.arrival_ns.tolist() == [0, 3 * S]
    assert trace.input_tokens.tolist() == [4, -1]
    assert trace.output_tokens.tolist() == [2, -1]
    assert trace.texts == ["How to\nmake pizza", None]


def test_sharegpt_wants_times(tmp_path: Path) -> None:
    trace = load("sharegpt", tmp_path)
    assert trace.arrival_ns.tolist() == [0, 60_500_000_000]
    assert trace.texts == ["a", "a\nb\nc"]
    assert trace.survey.dropped == {"a turn without a time": 1}
    data = SOURCES["sharegpt"][1].replace(b'"timestamp"', b'"tempo"')
    assert "it is a dataset, not a trace" in refusal("s.json", data, tmp_path)


def test_our_own_is_put_in_order_and_forgives_a_torn_end(tmp_path: Path) -> None:
    trace = load("loadgen", tmp_path)
    assert trace.arrival_ns.tolist() == [0, 1000, 2000]
    assert trace.input_tokens.tolist() == [17, 20, -1]
    assert trace.status.tolist() == [200, 200, 499]
    assert trace.session.tolist() == [0, 0, -1]
    assert trace.think_ns.tolist() == [-1, 100, -1]
    assert trace.zero == "2026-11-23T12:00:00.5Z"
    torn = load_bytes("own.jsonl", SOURCES["loadgen"][1] + b'{"arrival_ns": 9, "inp', tmp_path)
    assert torn.survey.dropped == {"torn last line": 1}
    assert len(torn) == 3
    data = SOURCES["loadgen"][1] + b'{"arrival_ns": 9, "inp\n'
    assert "line 5" in refusal("own.jsonl", data, tmp_path)


@pytest.mark.parametrize("between", ["", "\n \n,"])
def test_lines_are_objects_and_objects_are_lines(between: str, tmp_path: Path) -> None:
    one = '{"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": []}'
    broken = one.replace(", ", between, 1) if between else one + one
    assert "line 2" in refusal("m.jsonl", f"{one}\n{broken}\n{one}\n".encode(), tmp_path)


def test_a_captures_folder_is_a_trace_and_says_what_it_missed(tmp_path: Path) -> None:
    (tmp_path / "trace.jsonl").write_bytes(SOURCES["loadgen"][1])
    assert len(load_trace(tmp_path)) == 3
    (tmp_path / "capture.json").write_bytes(b'{"clean": false, "missed": {"the recorder was behind": 7}}')
    told = load_trace(tmp_path).survey.oddities
    assert "Requests that the capture served and missed: 7 (the recorder was behind)." in told
    assert any("did not end by itself" in each for each in told)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"input_tokens": 5}, "line 2: Object missing required field 'arrival_ns'"),
        ({"arrival_ns": -5}, "line 2: arrival_ns -5 is out of range"),
        ({"arrival_ns": 0, "input_tokens": 1e3}, "line 2"),
        ({"arrival_ns": 0, "parent": 4}, "line 2: parent 4 is no row of the file"),
        ({"arrival_ns": 0, "parent": 0, "edge": "later"}, "line 2: edge 'later' is none of"),
        ({"arrival_ns": 0, "waits_for": [3]}, "line 2: waits_for 3 is no row of the file"),
        ({"arrival_ns": 0, "blocks": [1, 2, -3]}, "line 2: blocks holds what is no whole number"),
        ({"arrival_ns": 0, "blocks": [1, 2, 1]}, "line 2: a block has another predecessor"),
        ({"arrival_ns": 2**70}, "line 2: a number is too large"),
    ],
)
def test_our_own_is_checked(row: dict[str, object], words: str, tmp_path: Path) -> None:
    assert words in refusal("own.jsonl", lines({"loadgen_trace": 1}, row), tmp_path)


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    assert "version 2" in refusal("own.jsonl", lines({"loadgen_trace": 2}, {"arrival_ns": 0}), tmp_path)


def test_servegen_clients_have_their_own_rates_lengths_and_silences(tmp_path: Path) -> None:
    for name, data in SERVEGEN.items():
        (tmp_path / name).write_bytes(data)
    trace = load_trace(tmp_path, seed=1, duration_ns=1800 * S)
    check(trace)
    again, other = (
        load_trace(tmp_path, seed=1, duration_ns=1800 * S),
        load_trace(tmp_path, seed=2, duration_ns=1800 * S),
    )
    assert again.arrival_ns.tolist() == trace.arrival_ns.tolist()
    assert other.arrival_ns.tolist() != trace.arrival_ns.tolist()
    mine = trace.row == 0
    assert set(trace.input_tokens[mine].tolist()) == {10, 20}
    assert trace.input_tokens[mine].mean() == pytest.approx(17.5, abs=0.5)
    assert set(trace.input_tokens[~mine].tolist()) == {101}
    silent = trace.arrival_ns[mine] // (600 * S) == 1
    assert not silent.any()
    assert trace.survey.dropped["the client has no lengths for that time"] == pytest.approx(300, abs=60)
    part = load_trace(tmp_path, seed=1, start_ns=1200 * S, duration_ns=60 * S)
    assert part.arrival_ns[-1] < 60 * S


@pytest.mark.parametrize(("name", "shape", "cv"), [("gamma", 4.0, 0.5), ("weibull", 2.0, 0.5227), ("", 0.0, 1.0)])
def test_a_client_is_a_renewal_process_of_its_rate_and_shape(name: str, shape: float, cv: float) -> None:
    """Known truth: CV 1/√k of a gamma, √(Γ(1+2/k)/Γ(1+1/k)² − 1) of a Weibull; both halves at their own rate."""
    windows = [Window(0, 5000, 4.0, name, shape), Window(5000, 10_000, 8.0, name, shape)]
    times = arrivals_s(windows, 0, 10_000, np.random.default_rng(0))
    first, second = times[times < 5000], times[times >= 5000]
    assert len(first) == pytest.approx(20_000, rel=0.03)
    assert len(second) == pytest.approx(40_000, rel=0.03)
    for part in (first, second):
        gaps = np.diff(part)
        assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.05)


@pytest.mark.parametrize(
    "text",
    ["{1: 1.0", "__import__('os')", "{1: 0.5}", "{1: 0.5, 2: 0.6}", "{-1: 1.0}", "{1: nan}", "{1: 1.0,}", "{1.5: 1.0}"],
)
def test_distributions_are_parsed_strictly(text: str) -> None:
    with pytest.raises(BadInputError):
        parse_lengths(Path("x"), text)


def test_what_is_no_trace_gets_a_sentence(tmp_path: Path) -> None:
    assert "'hello' begins no format" in refusal("x.txt", b"hello\nworld\n", tmp_path)
    assert "is empty" in refusal("x.txt", b"", tmp_path)
    assert "compressed and damaged" in refusal("x.gz", b"\x1f\x8b\x08\x00\x00", tmp_path)
    with pytest.raises(BadInputError, match="There is no trace"):
        load_trace(tmp_path / "none")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInputError, match="is a folder of no format"):
        load_trace(tmp_path / "folder")


def test_pieces_of_a_file_are_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that lie across pieces, empty lines, and the line that is named when one is broken."""
    rows = [{"timestamp": k, "input_length": k, "output_length": 1, "hash_ids": []} for k in range(40)]
    data = b"\n\n".join(lines(*rows).splitlines())
    whole = load_bytes("m.jsonl", data, tmp_path)
    own = load("loadgen", tmp_path)
    for size in (7, 64, 300):
        monkeypatch.setattr("loadgen.trace.reading._PIECE_BYTES", size)
        part = load_bytes("m.jsonl", data, tmp_path)
        assert part.input_tokens.tolist() == whole.input_tokens.tolist() == list(range(40))
        assert part.row.tolist() == whole.row.tolist() == list(range(1, 80, 2))
        assert load("loadgen", tmp_path).row.tolist() == own.row.tolist() == [3, 2, 4]
        assert "line 79" in refusal("m.jsonl", data.replace(b'"timestamp": 39', b'"timestamp": "x"'), tmp_path)
