"""Parts of the decoding benchmark: the videos it writes and the ways of reading them."""
