"""From other packages and back: sparse dictionaries, hooks for models that run elsewhere."""

from .autoencoder import Autoencoder, spliced
from .saelens import from_saelens

__all__ = ["Autoencoder", "from_saelens", "spliced"]
