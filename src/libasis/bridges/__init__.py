"""From other packages and back: sparse dictionaries, interventions as hooks, attribution graphs."""

from .attribution import attribution_graph
from .autoencoder import Autoencoder, spliced
from .hooks import Edit, edit
from .saelens import from_saelens

__all__ = ["Autoencoder", "Edit", "attribution_graph", "edit", "from_saelens", "spliced"]
