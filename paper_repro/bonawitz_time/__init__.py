"""What a masked sum costs in time."""
