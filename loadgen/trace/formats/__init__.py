"""One file a format: each tells its own file from others by its beginning, and turns it into the columns of a trace."""
