"""From a segmentor to a file that needs neither torch nor MMSegmentation. Needs torch."""
