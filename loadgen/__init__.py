"""loadgen: how many requests per second does this LLM deployment hold, within which latencies, and what stops it?

Importing the package is cheap on purpose: `loadgen --help` must answer at once, so nothing heavy is imported here.
"""

__version__ = "0.1.0"
