"""Where the requests go: a base URL, taken apart once. Never holds a secret: keys travel in headers beside it."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from loadgen.errors import BadInputError


@dataclass(frozen=True, slots=True)
class Target:
    """An OpenAI-compatible server. `root` ends before `/v1` and has no slash at its end."""

    scheme: str
    host: str
    port: int
    prefix: str  # path before /v1, "" or "/some/base"

    @property
    def root(self) -> str:
        return f"{self.scheme}://{self.authority}{self.prefix}"

    @property
    def authority(self) -> str:
        """Host and port as they stand in a Host header: the port is left out where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def url(self, path: str) -> str:
        return self.root + path


_PORTS = {"http": 80, "https": 443}


def parse_target(base_url: str) -> Target:
    """Take `localhost:8000`, `http://host/base/v1/` and everything between. Raises BadInputError."""
    text = base_url.strip()
    if "://" not in text:
        text = "http://" + text
    hint = "Write it like http://127.0.0.1:8000 (with or without /v1)."
    try:
        parts = urlsplit(text)
        port = parts.port
        (parts.hostname or "").encode("idna")  # as the resolver will
    except UnicodeError:
        raise BadInputError(f"'{base_url}' names no host: between two dots stand 1 to 63 characters.", hint) from None
    except ValueError as error:
        raise BadInputError(f"'{base_url}' is not a URL: {error}.", hint) from None
    if parts.scheme not in _PORTS:
        raise BadInputError(f"'{base_url}' is not an http or https URL.", hint)
    if not parts.hostname or any(c.isspace() for c in text) or parts.query or parts.fragment:
        raise BadInputError(f"'{base_url}' is not a URL of a server.", hint)
    if parts.username is not None:
        raise BadInputError("A base URL with a user name in it would end up in reports.", "Use --api-key or --header.")
    prefix = parts.path.rstrip("/")
    for ending in ("/chat/completions", "/completions", "/v1"):
        prefix = prefix.removesuffix(ending)
    return Target(parts.scheme, parts.hostname, _PORTS[parts.scheme] if port is None else port, prefix.rstrip("/"))
