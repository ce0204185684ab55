"""Export of a segmentor to files that run without torch and MMSegmentation. The export itself needs torch."""
