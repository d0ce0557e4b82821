"""Files of people and of ours: what a path means, how text is read, how a file is written whole."""
