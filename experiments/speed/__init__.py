"""The rows of `make bench`, one file for each family; `timing` is how all are measured."""
