"""What a study leaves on disk or in a store: run folders, data sets that travel, and what may be deleted."""
