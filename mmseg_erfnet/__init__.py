"""ERFNet (Romera et al., 2017) and CamVid for MMSegmentation.

Importing the package imports nothing else, so that ``mmseg_erfnet.deploy`` runs where neither torch nor
MMSegmentation is installed. MMEngine finds the registered classes through ``mmseg_erfnet.registry``.
"""

__version__ = '0.1.0'
