"""Is A better than B: by paired runs, runs in rounds, single runs. Nothing else compares scores."""
