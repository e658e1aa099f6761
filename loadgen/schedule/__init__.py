"""When each request is due: spacing × rate curve, drawn once from one seed, before the first byte is sent."""
