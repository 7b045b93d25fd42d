"""What it costs to sum models that nobody may see."""
