"""The pure core: every rule an auditor may question, as a function of its arguments."""
