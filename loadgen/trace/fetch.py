"""Brings the large public traces to who has a network: a table of places, resumed where it broke, held to its checksum.

Nothing is unpacked or run; a file that does not have the known sha256 is not kept under its name. Where only a part
of a checksum is published, that part is held against it, and where none is, it is said.
"""

import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loadgen.errors import BadInputError

_PIECE = 1 << 20
_TIMEOUT_S = 30.0
_PARTIAL, _RANGE_NOT_SATISFIABLE = 206, 416
_AZURE = "https://raw.githubusercontent.com/Azure/AzurePublicDataset/b469a113cedca53ddc3bdea71a143dc4b7d8700c/data"
_AZURE_2024 = "https://github.com/Azure/AzurePublicDataset/releases/download/dataset-llm-2024"
_MOONCAKE = (
    "https://raw.githubusercontent.com/kvcache-ai/Mooncake/3b5a594133958449a1feaf1c9e0fc1b553e34a28/FAST25-release"
)
_BURST = "https://github.com/HPMLL/BurstGPT/releases/download"
_QWEN = "https://media.githubusercontent.com/media/alibaba-edu/qwen-bailian-usagetraces-anon/main"
_TRACELAB = "https://raw.githubusercontent.com/uw-syfi/TraceLab/0b8a262ba69602869133b65972d51a388bde45e1"


@dataclass(frozen=True, slots=True)
class Source:
    """A public trace. `sha256` may have … where digits are not published, or be empty; `size` 0 is unknown."""

    url: str
    sha256: str
    size: int
    licence: str
    about: str

    @property
    def name(self) -> str:
        """Of the file."""
        return self.url.rsplit("/", 1)[-1]


SOURCES = {
    "azure-2023-conv": Source(
        f"{_AZURE}/AzureLLMInferenceTrace_conv.csv",
        "2f1e5b666d4e3055fdbba98598ce2ec307767b9064e03e2fa46676dbcc7d0bf8",
        719_188,
        "CC-BY-4.0",
        "19,366 requests of an hour; Splitwise, ISCA 2024",
    ),
    "azure-2023-code": Source(
        f"{_AZURE}/AzureLLMInferenceTrace_code.csv", "", 0, "CC-BY-4.0", "code completion; bursts after long silence"
    ),
    "azure-2024-conv": Source(
        f"{_AZURE_2024}/AzureLLMInferenceTrace_conv_1week.csv",
        "",
        0,
        "CC-BY-4.0",
        "27 M requests of a week, 1.1 GB; DynamoLLM, HPCA 2025",
    ),
    "azure-2024-code": Source(
        f"{_AZURE_2024}/AzureLLMInferenceTrace_code_1week.csv", "", 0, "CC-BY-4.0", "17 M requests of a week, 0.7 GB"
    ),
    "mooncake-conversation": Source(
        f"{_MOONCAKE}/traces/conversation_trace.jsonl",
        "b8cbb061a85206d729d91cdc2981f43c9e0d99209dce588d3af5f7934408b9df",
        3_029_533,
        "Apache-2.0",
        "12,031 requests of an hour with block ids; FAST 2025",
    ),
    "mooncake-toolagent": Source(
        f"{_MOONCAKE}/traces/toolagent_trace.jsonl",
        "48a2db1a13d3bc05e6330140c64f604ba366df20d3c9e128b5c35a01c1fa5f71",
        0,
        "Apache-2.0",
        "23,608 requests of agents with tools",
    ),
    "burstgpt-1": Source(
        f"{_BURST}/v1.1/BurstGPT_1.csv", "4bb37836…2122", 52_283_111, "CC-BY-4.0", "1.4 M requests of 61 days"
    ),
    "burstgpt-2": Source(
        f"{_BURST}/v1.1/BurstGPT_2.csv", "44bf5942…8bf7", 144_819_209, "CC-BY-4.0", "3.9 M requests, the next 60 days"
    ),
    "burstgpt-1-without-fails": Source(
        f"{_BURST}/v1.1/BurstGPT_without_fails_1.csv", "a4d068a7…a1f4", 0, "CC-BY-4.0", "the first without failures"
    ),
    "burstgpt-2-without-fails": Source(
        f"{_BURST}/v1.1/BurstGPT_without_fails_2.csv", "56193aa9…e501", 0, "CC-BY-4.0", "the second without failures"
    ),
    "burstgpt-3": Source(
        f"{_BURST}/v2.0/BurstGPT_3.csv", "2299986a…43b8f", 231_682_327, "CC-BY-4.0", "5.3 M requests with sessions"
    ),
    "qwen-coder": Source(
        f"{_QWEN}/qwen_coder_blksz_16.jsonl", "3d74974c…aff", 132_054_902, "Apache-2.0", "2 hours of a coding service"
    ),
    "qwen-thinking": Source(
        f"{_QWEN}/qwen_thinking_blksz_16.jsonl",
        "41ac36d9…e906",
        27_901_454,
        "Apache-2.0",
        "2 hours of a thinking model",
    ),
    "tracelab-example": Source(
        f"{_TRACELAB}/example_sessions/sanitized/round_trace.jsonl",
        "314c49483148fe68e230a683f739e3e6e68d478948ecf342739596f30af36b57",
        32_960,
        "CC-BY-4.0",
        "19 rounds of two coding agents",
    ),
}


def fetch(source: Source, path: Path, tell: Callable[[int, int], None]) -> str:
    """Bring a file to `path`, going on where an earlier try broke; its sha256. `tell` gets (bytes so far, all or 0).

    Raises BadInputError: no network, no such file any more, or another content than is known."""
    if path.exists():
        found = _digest(path)
        if not source.sha256 or fits(found, source.sha256):
            return found
        raise BadInputError(f"{path} is there and is another file ({found[:12]}…).", "Move it away, or give --out.")
    part = path.with_name(f"{path.name}.part")
    try:
        _load(source.url, part, tell)
    except urllib.error.HTTPError as error:
        raise BadInputError(
            f"{source.url} answers {error.code}.", "Its owner may have moved it; docs/traces.md."
        ) from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        why = getattr(error, "reason", error)
        raise BadInputError(
            f"{source.url} cannot be had: {why}.", "Try again: what has come is kept, and gone on from."
        ) from error
    found = _digest(part)
    if source.sha256 and not fits(found, source.sha256):
        part.unlink()
        raise BadInputError(
            f"{source.url} is not what it was: sha256 {found}, known is {source.sha256}.", "It was thrown away."
        )
    part.replace(path)
    return found


def fits(found: str, known: str) -> bool:
    """Whether a digest is the known one, as far as that is known."""
    begin, _, end = known.partition("…")
    return found.startswith(begin) and found.endswith(end)


def _load(url: str, part: Path, tell: Callable[[int, int], None]) -> None:
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "loadgen", **({"Range": f"bytes={have}-"} if have else {})}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 (https, from our own table)
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310 (the same)
    except urllib.error.HTTPError as error:
        if have and error.code == _RANGE_NOT_SATISFIABLE:
            return  # all of it has come; the checksum decides
        raise
    with answer:
        goes_on = have and answer.status == _PARTIAL
        have = have if goes_on else 0
        length = answer.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else 0
        with part.open("ab" if goes_on else "wb") as file:
            while piece := answer.read(_PIECE):
                file.write(piece)
                have += len(piece)
                tell(have, total)
    if total and have < total:
        raise ConnectionError(f"it broke off after {have:,} of {total:,} bytes")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
