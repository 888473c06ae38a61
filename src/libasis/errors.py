"""Every error that libasis raises on purpose, under one root.

A message is one sentence that repeats what was given, says what was expected and what to do.
"""


class LibasisError(Exception):
    """The root: catch it to catch everything that libasis raises on purpose."""


class ModelStateError(LibasisError):
    """The model is in a state that cannot be measured (a module in training mode, say)."""


class SiteError(LibasisError):
    """A site does not exist, cannot be a cut, or stands in the wrong order."""


class BypassError(SiteError):
    """A value that depends on the inputs goes around a site."""


class ExportError(LibasisError):
    """The model cannot be turned into a graph by ``torch.export``; ``Chain`` is the way out."""


class BatchError(LibasisError):
    """The batches are empty, one-shot, of the wrong structure or of the wrong shape."""


class ActivationError(LibasisError):
    """An activation is not finite, or two runs on the same input differ."""


class OptionError(LibasisError, ValueError):
    """An option has a value that is not allowed."""


class LabelError(LibasisError, ValueError):
    """Labels of features cannot be read or do not fit the graph."""


class StoreError(LibasisError):
    """A saved graph cannot be written or read."""
