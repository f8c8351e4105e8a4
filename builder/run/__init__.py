"""A build from its settings to published files: its ledger, its resume, its end."""
