"""More wordings of the reports there are, for training alone."""
