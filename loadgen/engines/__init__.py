"""The servers under test, seen from outside: start one, ask it what it is, watch its gauges. Never on the hot path."""
