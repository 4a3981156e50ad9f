"""What studies show: retrainings, matched pairs, verdicts on claims."""
