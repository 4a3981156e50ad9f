"""State and cost of studies, as tables and text."""
