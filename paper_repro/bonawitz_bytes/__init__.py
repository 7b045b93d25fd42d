"""What a masked sum costs in bytes."""
