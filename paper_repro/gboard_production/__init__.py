"""Guarantees of the language models that Gboard trained with correlated noise."""
