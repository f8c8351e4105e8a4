"""The pages on which people vote, and the server that brings them."""
