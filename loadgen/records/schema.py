"""THE table of columns: what is kept of every request. Times are int64 ns on the run's clock (0 = start of the run).

A request that never reached a stage has null there. Adding a column is adding a line here and filling it in `decode`.
"""

import pyarrow as pa

RECORD = pa.schema(
    [
        ("index", pa.int64()),  # row of plan.arrow
        ("label", pa.string()),  # dataset: s2s, s2l, …
        ("worker", pa.int32()),
        ("due_ns", pa.int64()),  # when it should have been sent
        ("issued_ns", pa.int64()),  # when the pacer let it go; issued - due is our lag
        ("sent_ns", pa.int64()),  # last byte of the request handed to the socket
        ("first_event_ns", pa.int64()),  # first SSE message of any kind
        ("first_token_ns", pa.int64()),  # first event that carries output tokens: TTFT ends here
        ("last_token_ns", pa.int64()),  # last event that carries output tokens: E2EL ends here
        ("done_ns", pa.int64()),  # last byte in, or the moment it failed
        ("status", pa.int32()),  # HTTP status, 0 when none came
        ("outcome", pa.string()),  # an Outcome: ok, http_error, stream_error, truncated, empty, timeout, …
        ("detail", pa.string()),  # a failure in words, cut to 300 characters
        ("finish_reason", pa.string()),
        ("planned_input_tokens", pa.int64()),
        ("planned_output_tokens", pa.int64()),
        ("input_tokens", pa.int64()),  # as the server counted them; null when it did not say
        ("output_tokens", pa.int64()),  # counted by token_source
        ("token_source", pa.string()),  # usage, token_ids, asked (it ended for its length), events
        ("events", pa.int32()),  # SSE messages
        ("empty_events", pa.int32()),  # token events with empty text
        ("multi_token_events", pa.int32()),
        ("body_bytes", pa.int64()),  # of the answer's body
        ("connection", pa.int32()),
        ("reused", pa.bool_()),
        ("retries", pa.int32()),  # fresh-connection retries before any byte of the answer
        ("stamp_source", pa.string()),  # kernel or user
        ("shared_stamps", pa.int32()),  # events that came in one read with a later one and share its stamp
        ("read_delay_max_ns", pa.int64()),  # largest (callback - kernel stamp) of its reads
        ("token_ns", pa.list_(pa.int64())),  # stamp of each token-bearing event
        ("token_counts", pa.list_(pa.int32())),  # tokens in each of them; null when each carried one
    ]
)

# Client and server gauges on the run's clock, long form: one row a reading.
TELEMETRY = pa.schema(
    [
        ("time_ns", pa.int64()),
        ("source", pa.string()),  # client or server
        ("name", pa.string()),  # lag_max_ns, cpu_fraction, vllm:num_requests_waiting, …
        ("value", pa.float64()),
    ]
)
