"""Charts and pictures: label maps, comparisons, charts of classes, animations."""
