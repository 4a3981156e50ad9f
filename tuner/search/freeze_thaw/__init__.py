"""Freeze-thaw search: trials pause at rungs, and a model of all curves says which one to go on with."""

from tuner.search.freeze_thaw.chooser import FreezeThaw
from tuner.search.freeze_thaw.curves import Curve, Proposal, rungs_of
from tuner.search.freeze_thaw.history import Earlier
from tuner.search.freeze_thaw.spaces import draws_of, mends_of

__all__ = ["Curve", "Earlier", "FreezeThaw", "Proposal", "draws_of", "mends_of", "rungs_of"]
