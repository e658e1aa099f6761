"""A recording proxy: it serves first and records second, and writes down nothing that identifies anybody."""
