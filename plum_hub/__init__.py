"""plum-hub: improve a code language model from instructions and execution alone.

Implements PLUM (arXiv 2406.06887) and, later, DSTC (arXiv 2411.13611) on the Hugging Face libraries.
Importing this package is cheap: every heavy import lives in the function that needs it.
"""

__version__ = "0.1.0"
