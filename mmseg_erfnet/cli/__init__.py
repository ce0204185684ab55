"""The command line: one module per verb, each with ``main(argv)``.

``mmseg-erfnet VERB`` and ``tools/VERB.py`` run the same code. torch and MMSegmentation are imported inside ``main``, so
that ``predict`` works without them.
"""
