"""What is asked of the server: how long prompts and answers are, and the prompts themselves.

Rule: a workload knows nothing of time, endpoints or sockets. Lengths and prompts depend on the seed and the request's
index only, so that every process and every run makes the same ones.
"""
