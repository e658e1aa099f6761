"""The search for the saturation point, pure: it asks for probes and is fed observations; no socket, no clock."""
