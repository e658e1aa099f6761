"""The scraper beside a run: it finds where gauges are, and measures the network apart from the HTTP layer."""

# ruff: noqa: N802 (the names of a fake are NVML's)

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from scripted import Server, Visit

from loadgen.analysis.gauges import server_section
from loadgen.engines import telemetry
from loadgen.engines.asking import Asker
from loadgen.engines.gauges import Readings
from loadgen.engines.gpu import Gpus, open_gpus
from loadgen.engines.telemetry import ANSWER, CONNECT, MissedError, Scraper, ask_timed
from loadgen.errors import TargetError
from loadgen.target import parse_target

PATIENCE_S = 20.0


def answering(pages: dict[str, str], held: threading.Event | None = None) -> Callable[[Visit], Any]:
    async def script(visit: Visit) -> None:
        while request := await visit.request():
            if held is not None:
                held.wait(PATIENCE_S)
            body = pages.get(request.path)
            status = "404 Not Found" if body is None else "200 OK"
            text = body or "nothing here"
            await visit.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())

    return script


def asker_of(server: Server) -> Asker:
    return Asker(parse_target(f"http://127.0.0.1:{server.port}"), {"Authorization": "Bearer k"})


def scraped(pages: dict[str, str], monkeypatch: pytest.MonkeyPatch, times: int = 2, gpus: Any = None) -> Any:
    """(the last of so many readings, the paths that were asked)."""
    monkeypatch.setattr(telemetry, "PERIOD_S", 0.02)
    with Server(answering(pages)) as server:
        scraper = Scraper(asker_of(server), lambda: gpus)
        scraper.start()
        for _ in range(times):
            at_ns, found = scraper.readings.get(timeout=PATIENCE_S)
        scraper.stop()
        scraper.join()
        assert at_ns > 0
        return found, [request.path for request in server.requests]


def own(found: Readings) -> Readings:
    return {name: value for name, value in found.items() if not name.startswith("loadgen:")}


def test_prometheus_and_a_fact_that_stands_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {"/metrics": "llamacpp:requests_processing 2\n", "/props": '{"total_slots": 4}'}
    found, paths = scraped(pages, monkeypatch, times=3)
    assert own(found) == {"llamacpp:requests_processing": 2, "llamacpp:total_slots": 4}
    assert found[CONNECT] >= 0
    assert found[ANSWER] > 0
    assert paths[:3] == ["/metrics", "/prometheus/metrics", "/props"]
    assert set(paths[3:]) == {"/metrics"}


def test_tensorrt_llm_has_two_places(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {"/metrics": '[{"numActiveRequests": 7}]', "/prometheus/metrics": "trtllm_kv_cache_utilization 0.5\n"}
    found, _ = scraped(pages, monkeypatch)
    assert own(found) == {"trtllm:numActiveRequests": 7, "trtllm_kv_cache_utilization": 0.5}


ANNOUNCED = "# HELP trtllm_kv_cache_utilization Share in use.\n# TYPE trtllm_kv_cache_utilization gauge\n"
TOLD = (
    ANNOUNCED
    + """trtllm_kv_cache_utilization{engine_type="undefined",model_name="m"} 0.5
# TYPE trtllm_num_requests_running gauge
trtllm_num_requests_running{engine_type="undefined",model_name="m"} 7.0
trtllm_num_requests_waiting{engine_type="undefined",model_name="m"} 3.0
trtllm_kv_cache_hit_rate{engine_type="undefined",model_name="m"} 0.25
# TYPE trtllm_time_to_first_token_seconds histogram
trtllm_time_to_first_token_seconds_bucket{le="0.001",model_name="m"} 0.0
trtllm_request_success_total{finished_reason="length",model_name="m"} 12.0
"""
)
ITERATIONS = (
    '[{"iter": 40, "numActiveRequests": 6}, {"iter": 41, "numActiveRequests": 7, "numQueuedRequests": 3,'
    ' "maxBatchSizeRuntime": 8, "kvCacheStats": {"usedNumBlocks": 20, "maxNumBlocks": 40, "cacheHitRate": 0.25}}]'
)


def test_tensorrt_llm_from_its_first_silent_answers_to_the_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle, its two places say nothing yet; both are asked again, and what they say has a meaning in the summary."""
    pages = {"/metrics": "[]", "/prometheus/metrics": ANNOUNCED}
    monkeypatch.setattr(telemetry, "PERIOD_S", 0.02)
    rows: dict[str, list[Any]] = {"source": [], "name": [], "time_ns": [], "value": []}
    with Server(answering(pages)) as server:
        scraper = Scraper(asker_of(server), lambda: None)
        scraper.start()
        _, silent = scraper.readings.get(timeout=PATIENCE_S)
        pages |= {"/metrics": ITERATIONS, "/prometheus/metrics": TOLD}
        found: Readings = {}
        while not own(found):
            at_ns, found = scraper.readings.get(timeout=PATIENCE_S)
        at_ns, found = scraper.readings.get(timeout=PATIENCE_S)
        scraper.stop()
        scraper.join()
    assert own(silent) == {}
    for name, value in found.items():
        for column, what in zip(rows, ("server", name, at_ns, value), strict=True):
            rows[column].append(what)
    section = server_section(pa.table(rows), at_ns - 1, at_ns + 1)
    assert section is not None
    wanted = {"running_mean": 7, "waiting_mean": 3, "kv_cache_mean": 0.5, "cap": 8, "prefix_hit_rate": 0.25}
    assert {name: section[name] for name in wanted} == wanted
    assert section["engine"] == "tensorrt-llm"


def test_a_server_without_gauges_is_asked_for_its_health(monkeypatch: pytest.MonkeyPatch) -> None:
    found, paths = scraped({}, monkeypatch, times=3)
    assert own(found) == {}
    assert found[ANSWER] > 0
    assert paths[:2] == ["/metrics", "/prometheus/metrics"]
    assert set(paths[2:]) == {"/health"}


def test_what_the_front_end_takes_is_not_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel accepts at once; the answer waits for the program."""
    held = threading.Event()
    threading.Timer(0.2, held.set).start()
    with Server(answering({"/health": "ok"}, held)) as server:
        status, body, times = ask_timed(asker_of(server), "/health")
    assert (status, body) == (200, b"ok")
    assert times[CONNECT] < 0.1 < 0.15 < times[ANSWER]


def test_a_question_that_is_not_answered_in_time_tells_how_long_it_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "TIMEOUT_S", 0.1)
    held = threading.Event()
    with Server(answering({"/health": "ok"}, held)) as server:
        with pytest.raises(MissedError) as missed:
            ask_timed(asker_of(server), "/health")
        held.set()
    assert missed.value.times[CONNECT] < missed.value.times[ANSWER]
    assert missed.value.times[ANSWER] >= 0.09


def test_nobody_there_is_our_error_and_a_scraper_survives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(answering({})) as server:
        asker = asker_of(server)
    with pytest.raises(TargetError, match="No answer"):
        ask_timed(asker, "/metrics")
    monkeypatch.setattr(telemetry, "PERIOD_S", 0.02)
    scraper = Scraper(asker, lambda: None)
    scraper.start()
    assert [scraper.readings.get(timeout=PATIENCE_S)[1] for _ in range(2)] == [{}, {}]
    scraper.stop()
    scraper.join()


class FakeNvml:
    """Two GPUs, of which one holds a model; the second does not tell its energy."""

    class NVMLError(Exception):
        pass

    used = (60, 1)

    def nvmlDeviceGetMemoryInfo(self, gpu: int) -> Any:
        return SimpleNamespace(used=self.used[gpu], total=80)

    def nvmlDeviceGetUtilizationRates(self, gpu: int) -> Any:
        return SimpleNamespace(gpu=90 - 40 * gpu, memory=50)

    def nvmlDeviceGetPowerUsage(self, gpu: int) -> int:
        return 500_000

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: int) -> int:
        if gpu:
            raise self.NVMLError
        return 3_000


def test_the_gpus_that_hold_a_model() -> None:
    assert Gpus(FakeNvml(), [0, 1]).readings() == {
        "gpu:count": 1,
        "gpu:memory_used_bytes": 60,
        "gpu:memory_usage": 0.75,
        "gpu:utilization": 0.9,
        "gpu:power_watts": 500,
        "gpu:energy_joules": 3,
    }


def test_what_one_gpu_does_not_tell_is_left_out() -> None:
    nvml = FakeNvml()
    nvml.used = (60, 40)
    found = Gpus(nvml, [0, 1]).readings()
    assert "gpu:energy_joules" not in found
    assert found["gpu:utilization"] == pytest.approx(0.7)
    assert found["gpu:power_watts"] == 1000


def test_no_package_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    assert open_gpus() is None


@pytest.mark.parametrize(("page", "seen"), [("vllm:num_requests_running 1\n", True), ("simulator:x 1\n", False)])
def test_gpus_are_read_unless_the_simulator_answers(page: str, seen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = scraped({"/metrics": page}, monkeypatch, gpus=Gpus(FakeNvml(), [0]))
    assert ("gpu:power_watts" in found) is seen
