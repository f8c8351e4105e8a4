"""A job cut into shards, and who computes them."""
