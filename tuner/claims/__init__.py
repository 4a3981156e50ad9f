"""Tests the results of studies: retrainings, matched pairs, verdicts on claims."""
