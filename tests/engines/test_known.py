"""What is known of an engine fits what it was recorded to answer: its row is tried first, and no other after it.

Real bytes of real servers, DeepSpeed-MII's HTTP layer among them, where a checkout has them beside it.
"""

import json
from collections.abc import Callable

import pytest
from recorded import FOLDER
from scripted import Request, Server, by_path

from loadgen.endpoints.dialects import ENGINES
from loadgen.engines.asking import Asker
from loadgen.engines.probe import probe
from loadgen.target import parse_target

# engine → (its recording, the recorded answer to a request as we would spell it, fields that must have been sent)
RECORDED = {
    "vllm": ("vllm_cpu", "completion_ignore_eos", {"ignore_eos", "stream_options"}),
    "llama-server": ("llama_server", "completion_ignore_eos", {"ignore_eos", "stream_options"}),
    "llama_cpp.server": ("llama_cpp_python", "completion_min_tokens", {"min_tokens"}),
    "transformers": ("transformers_serve", "completion_stream_usage", {"generation_config"}),
    "deepspeed_mii": ("deepspeed_mii_http", "completion_min_tokens", {"min_tokens"}),
}


@pytest.mark.parametrize("engine", RECORDED)
def test_the_known_row_is_taken_at_once(engine: str) -> None:
    name, case, fields = RECORDED[engine]
    path = FOLDER / f"{name}.jsonl"
    if not path.exists():
        pytest.skip("the recorded exchanges are not beside this checkout")
    cases = {row["case"]: row for row in map(json.loads, path.read_text().splitlines())}

    def played(case: str) -> Callable[[Request], bytes]:
        return lambda _: "".join(data for _, data in cases[case]["chunks"]).encode()

    seen: list[dict[str, object]] = []

    def answer(request: Request) -> bytes:
        seen.append(json.loads(request.body))
        return played(case)(request)

    with Server(by_path({"/v1/models": played("models"), "/v1/completions": answer})) as server:
        asker = Asker(parse_target(server.url), {"Content-Type": "application/json"})
        model = cases[case]["body"]["model"]
        found = probe(asker, model=model, endpoint="auto", stream=True, extra={}, engine=engine)
    first = seen[0]
    assert fields <= set(first)
    assert found.dialect is ENGINES[engine].dialect
    assert found.dialect.length_forced
    assert isinstance(first["prompt"], list) == ENGINES[engine].takes_ids
    assert bool(ENGINES[engine].counts.startswith("usage")) == found.says_usage
    assert len(seen) == 1


def test_every_known_dialect_forces_the_length() -> None:
    for known in ENGINES.values():
        spelled = known.dialect.spell(7, stream=True)
        assert spelled["max_tokens"] == 7
        assert known.dialect.length_forced
        assert {"ignore_eos", "min_tokens", "generation_config"} & set(spelled)
