"""The modules of a model timed on the device at hand, to stand beside their floors (`loadgen profile`).

Only bench, timing, limits, kernels, attention, caches, triton_kernels, selftest and grid touch torch, and only through
the `Bench` that they are given: the rest is arithmetic on numbers and is tested without torch. torch is imported when a
bench is opened, never before, so that nothing else of loadgen needs it.
"""
