"""From other packages and back: sparse dictionaries, and interventions as hooks of models that run elsewhere."""

from .autoencoder import Autoencoder, spliced
from .edit import Edit, edit
from .saelens import from_saelens

__all__ = ["Autoencoder", "Edit", "edit", "from_saelens", "spliced"]
