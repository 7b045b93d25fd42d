"""How many neighbours a party of SecAgg+ needs, and how many shares open a secret."""
