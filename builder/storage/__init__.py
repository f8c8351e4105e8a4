"""Places, here or at a URL, and files that appear there whole or not at all."""
