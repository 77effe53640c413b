"""Old files: what was released once is still read, and means the same."""
