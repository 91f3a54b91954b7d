"""Other implementations of the same job, for comparison."""
