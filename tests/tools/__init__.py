"""What executes the notebooks and reports on them."""
