"""Language models and the human brain, compared layer by layer.

Import the modules directly, for example ``from brainalign import ridge``; importing the package itself loads none.
"""

from __future__ import annotations

__version__ = "0.1.0"
