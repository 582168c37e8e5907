"""The terms of the training loss, one a file; formula and source stand on top of each."""
