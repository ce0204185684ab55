"""HTML reports of runs and of datasets."""
