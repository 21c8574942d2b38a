"""Headers of the protocols that the core itself meets, and their numbers."""
