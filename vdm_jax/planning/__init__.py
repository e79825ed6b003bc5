"""What a run needs on a machine that is not there, and the tables of the docs."""
