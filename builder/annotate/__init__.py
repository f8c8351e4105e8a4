"""Which features of a network people should vote on."""
