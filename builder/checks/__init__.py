"""What `verify` checks: each function here takes a data set and yields what is wrong with it."""
