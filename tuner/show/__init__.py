"""What a person sees: live view, status, report, dashboard. Reads studies, never changes them."""
