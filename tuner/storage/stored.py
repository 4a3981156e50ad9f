"""Loads a study and its study file from a storage, and checks their attributes."""

from tuner.storage.study import CONFIRMED as CONFIRMED
from tuner.storage.study import VERIFIED as VERIFIED
from tuner.storage.study import check as check
from tuner.storage.study import load_study as load_study
from tuner.storage.study import stored_file as stored_file
from tuner.storage.study import training_seconds as training_seconds
