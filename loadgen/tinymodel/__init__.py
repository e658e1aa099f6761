"""A model to serve when there is none: random weights in a real shape, a tokenizer, GGUF. Needs no torch and no hub."""
