"""The search for the saturation point, pure: it asks for probes and is told what they said; no socket, no clock.

Whoever drives it owns both (loadgen/saturate.py against servers, tests/search/queues.py on virtual time):

    asking = search(Limits(budget_ns), slo)
    probe = next(asking)
    while True:
        begin a run: a closed loop of probe.level in flight, or an open loop of probe.level requests/s, with a new seed
        until_ns = 0.0
        while until_ns < probe.at_most_ns:
            until_ns = probe.next_look_ns(until_ns)              # wait for that moment of the run's clock
            judged = judge(probe, seen, workload, slo)           # seen.until_ns is that moment
            if is_enough(probe, judged): break
        stop sending, drop what is in flight, let the server come to rest
        probe = asking.send(judged)                              # StopIteration carries the Answer

Observed  every request that was due (open) or got its slot (closed) by `until_ns`, ascending, ns since the run began:
          latency counts from due. `share` is the part of the answer that had come by then (tokens so far of those
          asked, 1 when done): a request that is half done counts half. A failure has `failed` and ends at `last_ns`.
          Requests that could not be sent are in it too, as not begun. A drain is not part of it.
Workload  the mean lengths of what requests are drawn from, not of those that one probe happened to draw: luck with
          lengths is set off against it. Exact where the distribution is a formula, else the mean of the whole data set.
Looking   only when `next_look_ns` says: the error of the verdicts is for about ten looks, not for a thousand. A look
          that comes a little late is harmless when `seen.until_ns` is the moment it came. Nothing is drawn from a look
          but whether to stop; the last judgement is the probe's.
Blame     a probe during which the client was the limit is sent as `dataclasses.replace(judged, problem="why")`. It
          never counts; the search then asks for less or says that this client cannot saturate the server. A server that
          refuses is no problem of the client's: refusals are failures.
Cost      `judged.duration_ns` is what is taken from the budget. Put the cool-down into it when that is to count.
Resuming  the search is deterministic: send it the stored judgements in their order, as long as the probe that it yields
          is the stored one, and it asks for what is missing. Probes and judgements are plain dataclasses of numbers
          (msgspec.to_builtins, msgspec.convert). `answer_of(made, limits, slo)` concludes from what there is.
"""
