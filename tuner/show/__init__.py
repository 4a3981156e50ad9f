"""Output for people: live view, status, report, dashboard. Reads studies and never changes them."""
