"""The question the project exists for: how many mm between cord and tumour, where, how sure."""
