"""How a request is spelled and an answer is read: pure functions of bytes, one file an API."""
