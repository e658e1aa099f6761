"""FLOPs, bytes and time floors of every operation of a decoder, from the shape of the model and two limits of a GPU."""
