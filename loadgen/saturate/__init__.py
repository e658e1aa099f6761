"""The search for the saturation point, against a server: the search itself (search/) decides what to try; here are the
clock, the sockets and the disk. Each probe is a run with its own folder; a search is a folder of runs with a journal.
"""
